"""Keys of earlier versions: messages name the new key, and saved configurations are still read."""

import json
from pathlib import Path
from typing import Any

import pytest

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.moved import GROUPS, moved, with_current_keys
from vtok.data import ClipSettings, LoaderSettings
from vtok.model.build import build
from vtok.runs.folder import load_config

MIXTURE = "recipe=shapes_mixture"
ANSWERS = [
    (["data.batch_size=8"], "data.batch_size=8: this key has moved. Use loader.batch_size=8."),
    (["data.num_workers=0"], "data.num_workers=0: this key has moved. Use loader.num_workers=0."),
    (["data.max_bad_fraction=1"], "data.max_bad_fraction=1: this key has moved. Use loader.max_bad_fraction=1."),
    (["data.size=32"], "data.size=32: this key has moved. Use clip.size=32."),
    (["data.num_frames=12"], "data.num_frames=12: this key has moved. Use clip.num_frames=12."),
    (["data.fps=null"], "data.fps=null: this key has moved. Use clip.fps=null."),
    (["data.decode_timeout=3"], "data.decode_timeout=3: this key has moved. Use clip.decode_timeout=3."),
    (["+data.fps=4"], "data.fps=4: this key has moved. Use clip.fps=4."),
    (["++data.fps=4"], "data.fps=4: this key has moved. Use clip.fps=4."),
    (["data.clip.fps=4"], "data.clip.fps=4: this key has moved. Use clip.fps=4."),
    (["data={num_frames:12}"], "data.num_frames: this key has moved. Use clip.num_frames."),
    ([MIXTURE, "data.sources.easy.size=32"], "data.sources.easy.size=32: this key has moved. Use clip.size=32."),
    ([MIXTURE, "data.batch_size=8"], "data.batch_size=8: this key has moved. Use loader.batch_size=8."),
    (["data.heldout_clips=8"], "data.heldout_clips=8: this key has moved. Use data.test_clips=8."),
    (
        ["data=folder", "data.root=.", "data.heldout_fraction=0.2"],
        "data.heldout_fraction=0.2: this key has moved. Use data.test_fraction=0.2.",
    ),
    (
        [MIXTURE, "data.sources.hard.heldout_clips=8"],
        "data.sources.hard.heldout_clips=8: this key has moved. Use data.sources.hard.test_clips=8.",
    ),
    (
        ["tokeniser.stride=${data.num_frames}"],
        "tokeniser.stride: it refers to data.num_frames, which is not a key. Use ${clip.num_frames}.",
    ),
]


@pytest.mark.parametrize(("overrides", "answer"), ANSWERS, ids=[" ".join(case[0]) for case in ANSWERS])
def test_the_message_about_a_moved_key_has_its_new_name(overrides: list[str], answer: str) -> None:
    with pytest.raises(UserError) as error:
        compose(overrides)
    assert str(error.value) == answer


def test_a_moved_key_in_a_recipe_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("# @package _global_\ndata: {batch_size: 8}\n")
    with pytest.raises(UserError, match=r"^data\.batch_size=8: this key has moved\. Use loader\.batch_size=8\.$"):
        compose([f"hydra.searchpath=[file://{tmp_path}]", "recipe=mine"])


def test_every_new_name_is_a_key() -> None:
    config = compose()
    for key, group in GROUPS.items():
        assert moved(f"data.{key}") == f"{group}.{key}"
        assert key in config[group]
    assert config.keys() >= set(GROUPS.values())
    assert moved("data.frames_fps") is None
    assert moved("decoder.size") is None


OLD = {"size": 48, "num_frames": 12, "fps": None, "decode_timeout": None}
OLD |= {"batch_size": 4, "num_workers": 0, "max_bad_fraction": 0.2}


def save(folder: Path, data: dict[str, Any]) -> Path:
    """A run folder of an earlier version."""
    backbone = {"_target_": "vtok.backbone.TinyBackbone"}
    tokeniser = {"_target_": "vtok.tokeniser.KeyFrameTokeniser", "backbone": backbone}
    (folder / "config.yaml").write_text(json.dumps({"backbone": backbone, "tokeniser": tokeniser, "data": data}))
    return folder


LOADED = ("backbone", "tokeniser", "clip", "loader", "data")


def test_a_run_folder_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    config = load_config(save(tmp_path, {"_target_": "vtok.data.ShapesData", "root": "x", **OLD}), groups=LOADED)
    assert build(config.clip) == ClipSettings(size=48, num_frames=12, decode_timeout=None)
    assert build(config.loader) == LoaderSettings(batch_size=4, num_workers=0, max_bad_fraction=0.2)
    assert OLD.keys().isdisjoint(config.data)
    config.clip.fps = 5
    source = build(config.data)
    assert (source.clip, source.rate) == (ClipSettings(size=48, num_frames=12, fps=5.0, decode_timeout=None), 5)


def test_held_out_clips_of_an_earlier_version_are_test_clips_and_choices_are_those_of_validation(
    tmp_path: Path,
) -> None:
    made = {"_target_": "vtok.data.ShapesData", "root": "x", "heldout_clips": 7}
    assert build(load_config(save(tmp_path, made | OLD), groups=LOADED).data).numbers["test"] == 7
    content = {
        "data": {"sources": {"one": {"heldout_fraction": 0.2}}},
        "trainer": {"best_by": "alignment/colour"},
        "optimise": None,
    }
    with_current_keys(content)
    assert content["data"] == {"sources": {"one": {"test_fraction": 0.2}}}
    assert (content["trainer"], content["optimise"]) == ({"best_by": "validation/alignment/colour"}, None)


def mixture(**rates: float | None) -> dict[str, Any]:
    """A mixture of an earlier version, with the frame rate of each source."""
    folder = {"_target_": "vtok.data.FolderData", **OLD}
    sources = {name: {**folder, "root": name, "frames_fps": 9.0, "fps": rate} for name, rate in rates.items()}
    return {"_target_": "vtok.data.MixtureData", "sources": sources, **OLD}


@pytest.mark.parametrize("rate", [None, 12.0])
def test_a_run_folder_of_an_earlier_version_with_a_mixture_is_read(rate: float | None, tmp_path: Path) -> None:
    config = load_config(save(tmp_path, mixture(one=rate, two=rate)), groups=LOADED)
    made = build(config.data)
    for source in (made, *made.sources.values()):
        assert source.clip == ClipSettings(size=48, num_frames=12, fps=rate, decode_timeout=None)
        assert source.frames_fps == 9


def test_a_mixture_at_two_rates_is_refused(tmp_path: Path) -> None:
    run = save(tmp_path, mixture(one=None, two=12.0))
    with pytest.raises(UserError, match=r"data\.sources\.two\.fps=12\.0: this key has moved\. Use clip\.fps=12\.0"):
        load_config(run, groups=LOADED)


def test_old_and_new_configurations_come_out_alike() -> None:
    """`vtok compare` finds no difference between them."""
    clip = {"_target_": "vtok.data.ClipSettings", "size": 48, "num_frames": 12, "fps": None, "decode_timeout": None}
    loader = {"_target_": "vtok.data.LoaderSettings", "batch_size": 4, "num_workers": 0, "max_bad_fraction": 0.2}
    old: dict[str, Any] = {"data": mixture(one=None)}
    own = {"_target_": "vtok.data.FolderData", "root": "one", "frames_fps": 9.0, "clip": dict(clip)}
    data = {"_target_": "vtok.data.MixtureData", "sources": {"one": own}, "clip": dict(clip)}
    new: dict[str, Any] = {"clip": clip, "loader": loader, "data": data}
    for content in (old, new):
        assert with_current_keys(content) == [content["data"], content["data"]["sources"]["one"]]
    assert old == new


def test_a_setting_that_is_no_longer_there_is_dropped() -> None:
    content = {"trainer": {"separate_questions": False, "max_steps": 3}}
    with_current_keys(content)
    assert content == {"trainer": {"max_steps": 3}}
