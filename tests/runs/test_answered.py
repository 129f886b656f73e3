from dataclasses import replace
from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.evaluation.answers import Answer, write_answers
from vtok.runs.answered import ANSWERS, VALIDATION_ANSWERS, common_answers, read_right

RED = Answer(
    clip="a", group="scene", source="", category="colour", kind="choice", question="Which colour?",
    choices=("red", "blue"), total=(), token=(), prior=(), answer="red", truth="red", right=True, chance=0.5,
)  # fmt: skip


def read(folder: Path, *answers: Answer) -> dict[str, dict]:
    folder.mkdir(exist_ok=True)
    write_answers(answers, folder / ANSWERS)
    return read_right(folder)


def test_metrics_of_all_kinds_and_of_each_data_set(tmp_path: Path) -> None:
    kinds = [replace(RED, kind=kind) for kind in ("choice", "yes_no", "caption", "generate")]
    right = read(tmp_path, *kinds, replace(RED, clip="b", source="real", right=False))
    names = ["alignment/colour", "alignment_yes_no/colour", "caption/colour", "generate/colour"]
    assert list(right) == [*names, "alignment/real/colour"]
    assert list(right["alignment/colour"].values()) == [True, False]
    assert list(right["alignment/real/colour"].values()) == [False]
    write_answers([replace(RED, right=False)], tmp_path / VALIDATION_ANSWERS)
    validation = read_right(tmp_path)["validation/alignment/colour"]
    assert list(validation.values()) == [False]
    assert read_right(tmp_path / "absent") == {}
    (tmp_path / ANSWERS).write_text("broken")
    with pytest.raises(UserError, match="cannot be read"):
        read_right(tmp_path)


def test_only_the_same_question_is_common(tmp_path: Path) -> None:
    """Asked twice, with choices in another order, of a clip whose path has changed.

    Others have other choices, are about another clip, or have another truth.
    """
    other = replace(RED, clip="b", group="clips/b.mp4", right=False)
    first = read(tmp_path, RED, replace(RED, right=False), other, replace(RED, clip="c"))
    again = replace(RED, choices=("blue", "red"))
    changed = [replace(RED, clip="c", choices=("red", "green")), replace(RED, clip="d"), replace(RED, truth="blue")]
    second = read(tmp_path, *changed, replace(other, group="/moved/clips/b.mp4", right=True), again, again)
    common = common_answers([one["alignment/colour"] for one in (first, second)])
    assert common is not None
    # Clusters: the scene with its question asked twice, and the other one.
    assert common.right.tolist() == [[1, 0], [2, 1]]
    assert common.sizes.tolist() == [2, 1]
    assert common.left_out == 4
    assert common_answers([first["alignment/colour"], {}]) is None
