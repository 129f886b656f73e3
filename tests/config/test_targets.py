"""Only components are built, each in its own group."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from vtok.common.errors import UserError
from vtok.config import compose
from vtok.config.targets import NO_GROUP, check_target, check_targets, group_of

OWN = """\
import subprocess
from subprocess import Popen
from vtok.backbone import Backbone, TinyBackbone


class Mine(TinyBackbone): ...
class Unfinished(Backbone): ...
class Part: ...
def schedule(optimizer, num_training_steps): ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of somebody's own."""
    (tmp_path / "own_lab.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_lab"


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("visual_head", "torch.load"),
        ("visual_head", "torch.hub.load"),
        ("visual_head", "torch.optim.SGD"),
        ("visual_head", "vtok.training.Trainer"),
        ("mllm", "transformers.pipeline"),
        ("mllm", "vtok.mllm.LanguageModel.from_pretrained"),
        ("backbone", "vtok.data.sources.shards.pack.os.system"),
        ("backbone", "vtok.backbone.Backbone"),
        ("backbone", "vtok.backbone.nothing"),
        ("backbone", "vtok..x"),
        ("backbone", ""),
        ("data", "vtok.data.video.write.write_video"),
        ("tokeniser", "hydra.utils.get_method"),
        ("tokeniser", "builtins.exec"),
        ("optimiser", "torch.load"),
        ("optimiser", "torch.optim.swa_utils.update_bn"),
        ("scheduler", "transformers.pipeline"),
        ("scheduler", "vtok.cli.main.main"),
        (NO_GROUP, "torch.load"),
        (NO_GROUP, "torch.nn.utils.clip_grad_norm_"),
        (NO_GROUP, "vtok.cli.main.main"),
        (NO_GROUP, "vtok.hub.remote.os.system"),
    ],
)
@pytest.mark.parametrize("allowed", [(), ("vtok", "torch", "transformers", "diffusers")], ids=["", "list"])
def test_other_classes_than_components_are_refused(group: str, target: str, allowed: tuple[str, ...]) -> None:
    """Even if the user allows the packages that this project builds on."""
    with pytest.raises(UserError, match=r"this is not a component|cannot be imported|its code was not run") as error:
        check_target(target, f"{group}._target_", group, allowed=allowed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("backbone", "vtok.backbone.TinyBackbone"),
        ("backbone", "vtok.backbone.tiny.TinyBackbone"),
        ("optimiser", "torch.optim.RMSprop"),
        ("scheduler", "vtok.training.schedule.schedule"),
        (NO_GROUP, "torch.nn.GELU"),
        (NO_GROUP, "vtok.tokeniser.MeanPooling"),
    ],
)
def test_components_of_this_project_and_of_torch_are_always_allowed(group: str, target: str) -> None:
    check_target(target, "x", group, allowed=())


@pytest.mark.parametrize(
    ("group", "name", "taken"),
    [
        ("backbone", "Mine", True),
        ("tokeniser", "Mine", False),
        ("backbone", "Unfinished", False),
        ("backbone", "Part", False),
        ("backbone", "Popen", False),
        ("scheduler", "schedule", True),
        ("scheduler", "Popen", False),
        (NO_GROUP, "Part", True),
        (NO_GROUP, "Popen", False),
        (NO_GROUP, "subprocess.Popen", False),
        (NO_GROUP, "schedule", False),
    ],
)
def test_only_components_of_an_allowed_package_are_accepted(group: str, name: str, taken: bool, own: str) -> None:
    with pytest.raises(UserError, match=r"the package own_lab is not trusted.*'allowed_targets=\[own_lab\]'"):
        check_target(f"{own}.{name}", "x", group, allowed=())
    if taken:
        check_target(f"{own}.{name}", "x", group, allowed=[own])
    else:
        with pytest.raises(UserError, match="this is not a component"):
            check_target(f"{own}.{name}", "x", group, allowed=[own])


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        ("tokeniser.key_frame", {"_target_": "os.getcwd"}, "tokeniser.key_frame._target_=os.getcwd"),
        ("mllm.x", [[{"_target_": "os.getcwd"}]], "mllm.x.0.0._target_=os.getcwd"),
        ("mllm._args_", [{"_target_": "os.getcwd", "_partial_": True}], "mllm._args_.0._target_=os.getcwd"),
        ("mllm.width", "${oc.decode:'{_target_: os.getcwd}'}", "mllm.width._target_=os.getcwd"),
        ("data.clip", {"_target_": "os.getcwd"}, "data.clip._target_=os.getcwd"),
        ("clip", {"_target_": "vtok.data.LoaderSettings"}, "clip._target_=vtok.data.LoaderSettings"),
        ("trainer.parallel", {}, "trainer.parallel._target_=None"),
        ("mllm._target_", ["os.getcwd"], "mllm._target_=['os.getcwd']"),
    ],
)
def test_targets_are_seen_wherever_they_are(place: str, value: Any, key: str, tiny_settings: list[str]) -> None:
    config = OmegaConf.create(OmegaConf.to_container(compose(tiny_settings)))
    OmegaConf.update(config, place, value, merge=False)
    with pytest.raises(UserError) as error:
        check_targets(config)
    assert str(error.value).startswith(key)


def test_groups_of_places() -> None:
    assert group_of(("tokeniser", "backbone")) == "backbone"
    assert group_of(("tokeniser", "motion_pooling")) == "tokeniser/motion_pooling"
    assert group_of(("data", "sources", "a")) == "data"
    assert group_of(("data", "sources")) == NO_GROUP
    assert group_of(("data", "sources", "a", "augmentation")) == "data/augmentation"
    assert group_of(("data", "clip")) == group_of(("data", "sources", "a", "clip")) == "clip"
    assert group_of(("tokeniser", "mine")) == NO_GROUP
