"""Values against declared types and bounds, and the text for these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from omegaconf import OmegaConf

from vtok.common.errors import UserError
from vtok.common.setting_types import Betas, Count, MultipleOfSetting, OneMoreThanMultipleOf
from vtok.config.signature import Setting
from vtok.config.values import check_value, type_text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "an integer"),
        (Count | None, "an integer >= 1 or null"),
        (Annotated[float, Gt(0), Lt(1)], "a number > 0 and < 1"),
        (Annotated[float, Ge(0), Le(1)], "a number from 0 to 1"),
        (Annotated[int, Ge(8), MultipleOf(8)], "an integer >= 8 that is a multiple of 8"),
        (Literal["a", "b"], "one of a, b"),
        (str | Path | None, "a string, a path or null"),
        (Betas, "[a number >= 0 and < 1, a number >= 0 and < 1]"),
        (dict[str, float], "a mapping {NAME: a number}"),
        (bool, "true or false"),
        (Sequence[str] | None, "a list of strings or null"),
        (Annotated[Sequence[Count], MinLen(1)], "a list of integers >= 1 (at least 1 item)"),
        (list[Literal["a", "b"]], "a list, each item one of a, b"),
        (Literal["a", "b"] | int | None, "one of a, b, an integer, or null"),
    ],
)
def test_a_type_in_words(kind: Any, text: str) -> None:
    assert type_text(kind) == text


FITTING: list[tuple[Any, Any, Any]] = [
    (int, "3", 3),
    (float, 1, 1.0),
    (float, 1e-5, 1e-5),
    (str | None, 5, "5"),
    (str | int, 5, 5),
    (bool, False, False),
    (Count | None, None, None),
    (Betas, [0.9, 0.98], [0.9, 0.98]),
    (Annotated[Sequence[Literal["a", "b"]], MinLen(1)] | None, ["b"], ["b"]),
    (Annotated[int, OneMoreThanMultipleOf(4)], 17, 17),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FITTING)
def test_a_value_that_fits_stays_or_is_converted(kind: Any, value: Any, expected: Any) -> None:
    node = OmegaConf.create({"x": value})
    check_value("a", node, Setting("x", kind, 0))
    assert OmegaConf.to_container(node)["x"] == expected
    assert not isinstance(expected, float | int) or type(node.x) is type(expected)


WRONG: list[tuple[Any, Any, str]] = [
    (int, True, "a.x=true: must be an integer."),
    (int, 1.5, "a.x=1.5: must be an integer."),
    (int, None, "a.x=null: must be an integer."),
    (Count, 0, "a.x=0: must be an integer >= 1."),
    (float, float("nan"), "a.x=nan: must be a number."),
    (float, float("inf"), "a.x=inf: must be a number."),
    (float, {"y": 1}, "a.x={y:1}: must be a number."),
    (Literal["auto", "fp32"], "fp23", "a.x=fp23: must be one of auto, fp32. Did you mean fp32?"),
    (
        Annotated[Sequence[Literal["a", "b"]], MinLen(1)],
        [],
        "a.x=[]: must be a list, each item one of a, b (at least 1 item).",
    ),
    (Annotated[int, OneMoreThanMultipleOf(4)], 16, "a.x=16: must be a multiple of 4 plus 1. Use 17 or 21."),
    (Betas, [0.9], "a.x=[0.9]: must be [a number >= 0"),
]


@pytest.mark.parametrize(("kind", "value", "message"), WRONG)
def test_a_value_that_does_not_fit_is_refused(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_value("a", OmegaConf.create({"x": value}), Setting("x", kind, 0))
    assert str(error.value).startswith(message)


def test_a_multiple_of_another_setting() -> None:
    node, setting = (
        OmegaConf.create({"x": 24, "heads": 4}),
        Setting("x", Annotated[int, MultipleOfSetting("heads", 2)], 0),
    )
    check_value("a", node, setting)
    node.heads = 5
    with pytest.raises(UserError, match=r"^a\.x=24: must be a multiple of 10 \(2 x a\.heads=5\)\. Use 20, or another"):
        check_value("a", node, setting)


def test_the_message_about_a_reference_names_the_other_key() -> None:
    node = OmegaConf.create({"x": "${y}", "y": None})
    with pytest.raises(UserError, match=r"^a\.x=null: .* It takes its value from y\. Set a\.x=VALUE as well"):
        check_value("a", node, Setting("x", int, 0))
