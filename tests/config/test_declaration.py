"""What is read from source is what Python itself says of the classes, and every setting is explained."""

import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hydra.utils import get_object

from vtok.config.compose import RUN_SETTINGS
from vtok.config.declaration import COMPUTED, REQUIRED, argument_help, declaration_of, trait
from vtok.config.options import groups, options_of, targets_of
from vtok.paths import conf_dir
from vtok.source_code import ClassReference, module

TARGETS = sorted({target for group in groups() for target in targets_of(group)})


@pytest.mark.parametrize("target", TARGETS)
def test_settings_are_those_of_pythons_own_signature(target: str) -> None:
    found = get_object(target)
    declared = declaration_of(target).settings
    # A class without a constructor of its own has object's, or torch's of anything.
    parameters = {name: one for name, one in inspect.signature(found).parameters.items() if one.kind not in (2, 4)}
    assert list(declared) == list(parameters)
    hints = get_type_hints(found.__init__ if inspect.isclass(found) else found, include_extras=True)
    for name, one in parameters.items():
        setting = declared[name]
        if setting.default is REQUIRED:
            assert one.default is inspect.Parameter.empty
        elif setting.default is not COMPUTED:
            assert setting.default == one.default
        if setting.type is not Any and not mentions_class(setting.type):
            assert setting.type == hints[name], name


def mentions_class(kind: Any) -> bool:
    return "ClassReference" in repr(kind)


@pytest.mark.parametrize("target", [*TARGETS, RUN_SETTINGS])
def test_every_setting_is_explained(target: str) -> None:
    unexplained = [one.name for one in declaration_of(target).settings.values() if not one.help]
    assert not unexplained


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        ("vtok.tokeniser.VTokTokeniser", "budgeted", "stride"),
        ("vtok.tokeniser.DeltaTokeniser", "budgeted", "stride"),
        ("vtok.tokeniser.CodecMotionTokeniser", "needs_files", True),
        ("vtok.tokeniser.VTokTokeniser", "needs_files", False),
        ("vtok.data.ShapesData", "synthetic", True),
        ("vtok.data.FolderData", "synthetic", False),
        ("vtok.decoder.WanDecoder", "needs_distinct_frames", True),
        ("vtok.decoder.TinyDecoder", "needs_distinct_frames", None),
    ],
)
def test_traits_are_the_classes_own_or_inherited(target: str, name: str, value: object) -> None:
    assert trait(target, name) == value == getattr(get_object(target), name, None)


def test_an_options_file_gives_no_default_again() -> None:
    """A value in a YAML is there because it differs, so that a default has one place."""
    import yaml

    for group in groups():
        for option in options_of(group):
            written = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text())
            node = written.get(group, written)
            defaults = declaration_of(node["_target_"]).defaults()
            assert not {key for key in defaults if key in node and node[key] == defaults[key]}, (group, option)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "foreign_parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .pieces import Made as Renamed\n")
    monkeypatch.syspath_prepend(tmp_path)
    module.cache_clear()
    declaration_of.cache_clear()
    return folder


def test_source_is_read_and_nothing_is_imported(package: Path) -> None:
    (package / "pieces.py").write_text(
        textwrap.dedent(
            '''
            import does_not_exist
            from typing import Annotated, Literal
            from annotated_types import Ge
            from does_not_exist import Thing

            LEAST = 2
            Size = Annotated[int, Ge(LEAST)]

            class Base:
                """Base.

                Args:
                    size: pixels, told
                        over two lines.
                    mode: one of two.
                """

                flag = 3 * LEAST

                def __init__(self, thing: Thing, *, size: Size = LEAST**3, mode: Literal["a", "b"] = "a") -> None: ...

            class Made(Base):
                """A made one."""
            '''
        )
    )
    made = declaration_of("foreign_parts.Renamed")
    assert made.summary == "A made one."
    assert made.settings["thing"].type is Any or isinstance(made.settings["thing"].type, ClassReference)
    assert (made.settings["size"].default, made.settings["size"].help) == (8, "pixels, told over two lines.")
    assert made.defaults() == {"size": 8, "mode": "a"}
    assert trait("foreign_parts.Renamed", "flag") == 6
    assert "foreign_parts" not in sys.modules


def test_a_docstrings_arguments_may_share_a_sentence_and_other_sections_have_none() -> None:
    text = (
        "Sum.\n\nArgs:\n    a, b: sides (of it).\n    c (int): more\n        of c.\n\nRaises:\n    UserError: never.\n"
    )
    assert argument_help(text) == {"a": "sides (of it).", "b": "sides (of it).", "c": "more of c."}
