"""The folders of vtok/ follow the flow of data: none imports a later one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import vtok

ROOT = Path(vtok.__file__).parent
ORDER = (
    *("common", "data", "backbone", "tokeniser", "mllm", "visual_head", "decoder"),
    *("config", "feature_cache", "model", "tracking", "runs", "evaluation", "training"),
    *("hub", "inference", "demo", "lmms", "cli"),
)
# Imports inside functions.
EXCEPTIONS = {
    # Checks that classes derive from the base class of their group.
    "config/targets.py": {"model", "evaluation", "tracking", "training"},
    # Counts and times what a budget in GFLOP or milliseconds costs.
    "config/cost_budget.py": {"evaluation"},
    # Reads the answers that an evaluation has written to the run folder.
    "runs/answered.py": {"evaluation"},
    # Logs the trained model as an MLflow model.
    "tracking/mlflow.py": {"inference"},
}


def imported_folders(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "vtok" and rest:
                yield rest.partition(".")[0]


def test_every_folder_has_its_place() -> None:
    assert sorted(ORDER) == sorted(file.parent.name for file in ROOT.glob("*/__init__.py"))
    assert {file.name for file in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_no_folder_imports_one_that_comes_after_it() -> None:
    wrong = []
    for place, folder in enumerate(ORDER):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            later = set(imported_folders(file)) & set(ORDER[place + 1 :])
            wrong += [f"{name} imports {other}" for other in sorted(later - EXCEPTIONS.get(name, set()))]
    assert wrong == []
