"""Settings read from source are those of Python's own signatures, and every setting is explained."""

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hydra.utils import get_object

from vtok.cli.dispatch import OVERRIDES, verbs
from vtok.common.paths import conf_dir
from vtok.common.source_code import module
from vtok.common.source_values import ClassReference
from vtok.config.compose import RUN_SETTINGS
from vtok.config.declaration import (
    NotImported,
    class_constant,
    constant_in_source,
    declaration_in_source,
    declaration_of,
)
from vtok.config.options import groups, options_of, targets_of
from vtok.config.signature import COMPUTED, REQUIRED, argument_help

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


VERBS = [declared.target for declared in verbs().values()]


@pytest.mark.parametrize("target", [*TARGETS, *VERBS, RUN_SETTINGS])
def test_the_help_of_a_setting_stands_alone(target: str) -> None:
    """--help prints it without the name of the class, and without the sentence before it."""
    settings = [one for one in declaration_of(target).settings.values() if not one.is_given_by_code]
    begins = {one.name: one.help for one in settings if re.match(r"(of|in|to|for|see|that|where) ", one.help)}
    assert not {name: text for name, text in begins.items() if name != OVERRIDES}


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        ("vtok.tokeniser.VTokTokeniser", "budgeted", "stride"),
        ("vtok.tokeniser.DeltaTokeniser", "budgeted", "stride"),
        ("vtok.tokeniser.CodecMotionTokeniser", "needs_files", True),
        ("vtok.tokeniser.VTokTokeniser", "needs_files", False),
        ("vtok.tokeniser.LlamaVidTokeniser", "reads_question", True),
        ("vtok.tokeniser.VTokTokeniser", "reads_question", False),
        ("vtok.data.ShapesData", "synthetic", True),
        ("vtok.data.FolderData", "synthetic", False),
        ("vtok.decoder.WanDecoder", "needs_distinct_frames", True),
        ("vtok.decoder.TinyDecoder", "needs_distinct_frames", None),
    ],
)
def test_traits_are_the_classes_own_or_inherited(target: str, name: str, value: object) -> None:
    assert class_constant(target, name) == value == getattr(get_object(target), name, None)


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
    declaration_in_source.cache_clear()
    constant_in_source.cache_clear()
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
                    size: pixels, written
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
    assert (made.settings["size"].default, made.settings["size"].help) == (8, "pixels, written over two lines.")
    assert made.defaults() == {"size": 8, "mode": "a"}
    assert class_constant("foreign_parts.Renamed", "flag") == 6
    assert "foreign_parts" not in sys.modules


def test_help_of_arguments_that_share_a_sentence() -> None:
    text = (
        "Sum.\n\nArgs:\n    a, b: sides (of it).\n    c (int): more\n        of c.\n\nRaises:\n    UserError: never.\n"
    )
    assert argument_help(text) == {"a": "sides (of it).", "b": "sides (of it).", "c": "more of c."}


def write(package: Path, text: str) -> None:
    (package / "pieces.py").write_text(textwrap.dedent(text))


def test_annotations_in_every_spelling_are_read_as_python_reads_them(package: Path) -> None:
    write(
        package,
        """
        from __future__ import annotations
        import typing as t
        from dataclasses import KW_ONLY, dataclass, field
        from typing import Annotated, Literal, Optional, TypeAlias, Union
        from annotated_types import Ge, Le

        Share: TypeAlias = Annotated[float, Ge(0), Le(1)]
        Mode = Literal["slow", "fast"]

        class Spelled:
            def __init__(self, a: "int", b: Optional[int] = None, c: Union[int, str] = 1, d: t.Optional["Share"] = None,
                         e: t.List["int"] = (), f: Annotated["Share", "a note"] = 1.0, g: Optional[Mode] = None,
                         *, h: "Mode | None" = None, i: dict[str, "int | None"] = {}) -> None: ...

        class Made:
            pass

        @dataclass
        class Fields:
            _: KW_ONLY
            size: int = 3
            names: list[str] = field(default_factory=list)
            pair: tuple[int, int] = field(default_factory=lambda: (1, 2))
            share: Share = field(default=0.5)
            made: int = field(init=False, default=7)
        """,
    )
    read = declaration_of("foreign_parts.pieces.Spelled").settings
    fields = declaration_of("foreign_parts.pieces.Fields").defaults()
    assert "foreign_parts" not in sys.modules
    hints = get_type_hints(get_object("foreign_parts.pieces.Spelled").__init__, include_extras=True)
    assert {name: read[name].type for name in hints if name != "return"} == {
        name: kind for name, kind in hints.items() if name != "return"
    }
    assert fields == {"size": 3, "names": [], "pair": [1, 2], "share": 0.5}
    del sys.modules["foreign_parts.pieces"], sys.modules["foreign_parts"]


def test_settings_passed_to_a_base_class_are_read(package: Path) -> None:
    write(
        package,
        """
        class Base:
            trained = True
            def __init__(self, thing, *, size: int = 2, width: int = 3) -> None: ...
        class Middle(Base):
            def __init__(self, thing, *args, size: int = 4, **kwargs) -> None: ...
        class Made(Middle): ...
        Other = Made
        class Open:
            def __init__(self, a: int = 1, **kwargs) -> None: ...
        """,
    )
    made = declaration_of("foreign_parts.pieces.Other")
    assert made.defaults() == {"size": 4, "width": 3}
    assert not made.accepts_unknown
    assert class_constant("foreign_parts.pieces.Other", "trained") is True
    assert declaration_of("foreign_parts.pieces.Open").accepts_unknown


@pytest.mark.parametrize(
    "text",
    [
        "from foreign_parts.base import Made\nclass Made(Made): ...",
        "from foreign_parts.base import Made as Base\nclass Made(Base, unknown.Thing[int]): ...",
    ],
    ids=["of the same name", "beside what cannot be read"],
)
def test_settings_of_base_classes_are_read(text: str, package: Path) -> None:
    (package / "base.py").write_text("class Made:\n    def __init__(self, *, size: int = 2): ...\n")
    write(package, text)
    assert declaration_of("foreign_parts.Renamed").defaults() == {"size": 2}


@pytest.mark.parametrize("text", ["Made = Other\nOther = Made", "Made = 3", "class Made(", "Made = Made", "\0"])
def test_a_class_without_readable_source_is_refused_and_not_imported(text: str, package: Path) -> None:
    write(package, text)
    with pytest.raises(NotImported, match=r"^_target_=foreign_parts\.Renamed: there is no Python source of this name"):
        declaration_of("foreign_parts.Renamed")
    assert "foreign_parts" not in sys.modules


def test_folders_without_an_init_are_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_folder" / "inner").mkdir(parents=True)
    (tmp_path / "plain_folder" / "inner" / "part.py").write_text("def made(*, size: int = 2): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert declaration_of("plain_folder.inner.part.made").defaults() == {"size": 2}
    assert module("plain_folder.inner.part.part") is None
    assert module("plain_folder.inner") is None


def test_reading_a_class_runs_no_code(package: Path, tmp_path: Path) -> None:
    write(
        package,
        f"""
        import antigravity
        from subprocess import Popen

        class Made:
            def __init__(self, *, size: antigravity.x = Popen(["touch", {str(tmp_path / "it-was-run")!r}])) -> None: ...
        """,
    )
    setting = declaration_of("foreign_parts.Renamed").settings["size"]
    assert (setting.default, setting.type) == (COMPUTED, Any)
    assert not (tmp_path / "it-was-run").exists()
    assert "antigravity" not in sys.modules


def test_settings_of_an_imported_class_without_source_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        trained = True

        def __init__(self, *, size: int = 2) -> None: ...

    monkeypatch.setattr(sys.modules["__main__"], "MadeInANotebook", Made, raising=False)
    assert declaration_of("__main__.MadeInANotebook").defaults() == {"size": 2}
    assert class_constant("__main__.MadeInANotebook", "trained") is True
