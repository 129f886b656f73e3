"""Packages whose names are imported when they are first used."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import vtok
from vtok.common.source_code import module

ROOT = Path(vtok.__file__).parent
LAZY = [
    ".".join(("vtok", *file.parent.relative_to(ROOT).parts))
    for file in sorted(ROOT.rglob("__init__.py"))
    if "lazy_exports(__name__)" in file.read_text()
]


@pytest.mark.parametrize("name", LAZY)
def test_no_exported_name_is_also_a_module(name: str) -> None:
    """The name would mean whichever is imported first."""
    source, package = module(name), importlib.import_module(name)
    assert source is not None
    folder = Path(str(package.__file__)).parent
    modules = {file.stem for file in folder.glob("*.py")} | {file.parent.name for file in folder.glob("*/__init__.py")}
    assert not modules & set(package.__all__)
    assert set(package.__all__) <= set(source.imports)
    assert set(package.__all__) <= set(dir(package))


def test_all_names_of_a_package_can_be_listed_and_imported() -> None:
    code = (
        "import vtok.visual_head as package\n"
        "print('NoVisualHead' in dir(package))\n"
        "from vtok.visual_head import *\n"
        "print(NoVisualHead)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "<class", "'vtok.visual_head.none.NoVisualHead'>"]
