"""Measured times of tokenising and prefill on this machine, saved for budgets such as `tokeniser.budget=40ms`."""

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_json
from vtok.common.hashing import stable_hash
from vtok.common.nested import flatten
from vtok.common.processes import started_processes
from vtok.model.build import device_of

FOLDER = "calibration"


@dataclass(frozen=True)
class MeasuredTime:
    """The time of one value of the setting that is found for a budget.

    Attributes:
        tokens: number of tokens of a clip.
        milliseconds: `Cost.milliseconds`.
    """

    tokens: int
    milliseconds: float


class Calibration:
    """The times that were measured with one configuration on one machine: `outputs/calibration/NAME.json`.

    Args:
        config: composed configuration.
        key: name of the tokeniser's setting that varies.

    Attributes:
        depends_on: what the times depend on: the machine, the device, torch's version and number of threads, and the
            settings of clips, backbone, tokeniser and language model.
        path: file, whose name holds a hash of `depends_on`.
        times: measured times, by value of the setting.

    Raises:
        UserError: if the file cannot be read.
    """

    def __init__(self, config: DictConfig, key: str) -> None:
        self.depends_on = {**machine(config), **measured_settings(config, key)}
        name = stable_hash(json.dumps(self.depends_on, sort_keys=True))
        self.path = Path(config.outputs) / FOLDER / f"{name:016x}.json"
        self.times = self._read()

    def add(self, value: int, time: MeasuredTime) -> None:
        """Save a measured time, beside those that other processes may have saved.

        Raises:
            UserError: if the file cannot be written.
        """
        self.times = {**self._read(), value: time}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        times = [{"value": one, **asdict(self.times[one])} for one in sorted(self.times)]
        write_text(self.path, json.dumps({"depends_on": self.depends_on, "times": times}, indent=1))

    def rising(self) -> dict[int, float]:
        """Milliseconds by number of tokens, ascending: of each, the least that was measured with as many or more.

        Other work on the machine only lengthens times, so a time above that of more tokens is not the tokeniser's.
        """
        found: dict[int, float] = {}
        least = float("inf")
        for one in sorted(self.times.values(), key=lambda time: time.tokens, reverse=True):
            least = min(least, one.milliseconds)
            found[one.tokens] = least
        return dict(sorted(found.items()))

    def milliseconds(self, tokens: int) -> float | None:
        """The time of a number of tokens, interpolated between those that were measured; None outside of them."""
        by_tokens = list(self.rising().items())
        for (fewer, less), (more, longer) in zip(by_tokens, by_tokens[1:] or by_tokens, strict=False):
            if fewer <= tokens <= more:
                return less + (longer - less) * (tokens - fewer) / max(1, more - fewer)
        return None

    def _read(self) -> dict[int, MeasuredTime]:
        if not self.path.exists():
            return {}
        content = read_json(self.path)
        try:
            return {
                int(one["value"]): MeasuredTime(int(one["tokens"]), float(one["milliseconds"]))
                for one in content["times"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}: this is not a calibration that vtok has saved. Delete it to measure the times again."
            ) from error


def machine(config: DictConfig) -> dict[str, Any]:
    """The machine and the device that a configuration is measured on."""
    device = device_of(config)
    return {
        "machine": platform.node(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measured_settings(config: DictConfig, key: str) -> dict[str, Any]:
    """The settings that times depend on, except for the one that varies."""
    groups = {name: OmegaConf.to_container(config[name], resolve=True) for name in ("backbone", "tokeniser", "mllm")}
    clip = {"clip.num_frames": config.clip.num_frames, "clip.size": config.clip.size}
    varies = ("tokeniser.backbone.", f"tokeniser.{key}", "tokeniser.budget")
    return {**{name: value for name, value in flatten(groups).items() if not name.startswith(varies)}, **clip}


def refuse_several_processes() -> None:
    """Refuse to measure in one of several processes, which would choose different settings.

    Raises:
        UserError: if torchrun or `accelerate launch` started this process beside others.
    """
    if started_processes() > 1:
        raise UserError(
            "tokeniser.budget: times are not measured while several processes run, and these are not in the saved "
            "calibration. Run vtok validate with the same overrides in one process, and set what it chooses instead."
        )
