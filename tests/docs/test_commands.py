"""Every command that README and the pages show runs, on a small scale where it would take long."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
# They need more than a minute or weights: what they count is tested in tests/test_recipes.py.
RECIPES = re.compile(r"recipe=paper")


def commands_in(page: Path) -> list[str]:
    """The commands in the code blocks without a language; those marked as text are not run."""
    found, language = [], None
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            language = line.removeprefix("```") if language is None else None
        elif language == "" and line.startswith(("python train.py", "vtok ")):
            found.append(line.split("  #")[0].strip())
    return found


README = commands_in(ROOT / "README.md")


def test_the_commands_were_found() -> None:
    assert len([line for line in README if line.startswith("python")]) >= 9
    assert {line.split()[1] for line in README if line.startswith("vtok")} >= {"compare", "report", "probe", "describe"}
    assert sum(len(commands_in(page)) for page in PAGES) > 30


def test_readme_is_a_page() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


def train_commands() -> list:
    """README's commands of train.py; sweeps, which are several runs, are slow."""
    sweeps = re.compile(r" -m | sweep=")
    return [
        pytest.param(line, marks=pytest.mark.slow) if sweeps.search(line) else line
        for line in README
        if line.startswith("python")
    ]


@pytest.mark.parametrize("command", train_commands())
def test_train_commands_of_readme(command: str, carry_out: Callable[[str], int], tmp_path: Path) -> None:
    assert carry_out(command) == 0
    if "--help" not in command:
        assert list((tmp_path / "outputs").rglob("summary.json"))


def test_verbs_of_readme(carry_out: Callable[[str], int]) -> None:
    for command in README:
        if command.startswith("vtok"):
            assert carry_out(command) == 0, command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page(page: Path, carry_out: Callable[[str], int]) -> None:
    """In their order, in one folder, as a reader goes through them; those that README shows as well are run there."""
    for command in commands_in(page):
        if command not in README and not RECIPES.search(command):
            assert carry_out(command) == 0, command


def test_the_python_example_of_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import torch.*?)```", text, flags=re.DOTALL)
    assert code is not None
    names: dict = {}
    exec(code[1].replace("ClipBackbone", "Vgg19Backbone").replace("336", "224"), names)
    tokeniser, torch = names["tokeniser"], names["torch"]
    assert tuple(tokeniser(torch.rand(1, 30, 3, 224, 224)).shape)[:2] == (1, 16 + 4)
    assert tokeniser.plan(30).indices == (0, 6, 12, 18, 24)
    assert "(1, 16 + 4, 1024)" in code[1]
    assert "(0, 6, 12, 18, 24)" in code[1]


def test_the_python_example_of_the_concepts() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert code is not None
    names: dict = {}
    exec(code[1], names)
    assert tuple(names["tokeniser"](names["torch"].rand(1, 30, 3, 64, 64)).shape) == (1, 20, 96)
    assert "(1, 20, 96)" in code[1]


def test_the_component_of_the_pages_works(
    carry_out: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class in a package, the YAML in a folder, and the three commands."""
    text = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    source = re.search(r"```python\n# mylab/__init__.py\n(.*?)```", text, flags=re.DOTALL)
    option = re.search(r"```yaml\n# myconf/tokeniser/last_frame.yaml\n(.*?)```", text, flags=re.DOTALL)
    commands = re.search(r"```text\n(vtok validate.*?)```", text, flags=re.DOTALL)
    assert source is not None
    assert option is not None
    assert commands is not None
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text(source[1])
    (tmp_path / "myconf" / "tokeniser").mkdir(parents=True)
    (tmp_path / "myconf" / "tokeniser" / "last_frame.yaml").write_text(option[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    found = commands[1].replace("/ABSOLUTE", str(tmp_path)).splitlines()
    assert len(found) == 3
    for command in found:
        assert carry_out(command) == 0, command
