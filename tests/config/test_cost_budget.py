"""Budgets in GFLOP and milliseconds: the nearest setting, or a refusal that names it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.common.flops import ATTENTION_ON_CPUS
from vtok.config import compose
from vtok.config.cost_budget import bracket
from vtok.config.nodes import constant_of
from vtok.config.options import options_of
from vtok.evaluation.cost.calibration import Calibration
from vtok.evaluation.cost.measure import QUESTION, Measurement
from vtok.evaluation.cost.meter import FlopMeter
from vtok.model import VideoLanguageModel
from vtok.model.batch import stack_prompts
from vtok.model.build import build_model
from vtok.runs.folder import load_config

STRIDES = {2: 29, 3: 14, 30: 1}
SMALL = ["backbone.width=8", "mllm.width=32", "mllm.layers=1", "mllm.heads=2"]


def operations(config: DictConfig) -> int:
    """Operations of the real model on a clip of noise and a question, up to the answer, counted by torch."""
    model: VideoLanguageModel = build_model(config).eval()
    frames = int(config.clip.num_frames)
    size = int(config.clip.size)
    video = torch.randint(0, 256, (1, frames, 3, size, size), dtype=torch.uint8)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPUS) as counter:
        tokens = model.tokeniser.encode(video)
        text = stack_prompts(model.mllm.chat, [QUESTION], numbers=[tokens.tokens.shape[1]])
        ids, tokens = text.ids, model.condition(tokens, text)
        embeddings = model.mllm.embed(ids, model.project(tokens.tokens, tokens.kind), tokens.mask)
        model.mllm.model.base_model(inputs_embeds=embeddings, attention_mask=torch.ones_like(ids))
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    "option", sorted(set(options_of("tokeniser")) - {"codec_motion", "key_frame"}), ids=lambda option: option
)
def test_operations_are_those_of_the_real_model_and_within_5_percent(option: str) -> None:
    chosen = [*SMALL, f"tokeniser={option}"]
    whole = compose(chosen)
    if (key := constant_of(whole.tokeniser, "budgeted")) is None:
        pytest.skip("it takes no budget")
    wanted = operations(whole) * 1.02 / 1e9
    config = compose([*chosen, f"tokeniser.budget={wanted:.6f}GFLOP"])
    counted = operations(config)
    assert abs(counted / 1e9 / wanted - 1) <= 0.05
    assert FlopMeter(config, key).cost(config.tokeniser[key]) == counted / 1e9


def test_a_budget_that_cannot_be_met_names_the_nearest() -> None:
    chosen = [*SMALL, "tokeniser=frame_sampling"]
    # By the number of frames that are sampled, with the widest stride that does.
    costs = {number: operations(compose([*chosen, f"tokeniser.stride={k}"])) / 1e9 for number, k in STRIDES.items()}
    between = (costs[2] * costs[3]) ** 0.5
    for asked, named in ((between, (2, 3)), (costs[2] / 2, (2,)), (costs[30] * 2, (30,))):
        with pytest.raises(UserError) as error:
            compose([*chosen, f"tokeniser.budget={asked:.6f}GFLOP"])
        found = re.findall(r"([\d.]+)GFLOP \(tokeniser\.stride=(\d+)\)", str(error.value))
        assert [int(stride) for _, stride in found] == [STRIDES[number] for number in named]
        assert [float(amount) for amount, _ in found] == pytest.approx([costs[number] for number in named], rel=0.01)
    # What is named can be met.
    amount, stride = found[0]
    assert compose([*chosen, f"tokeniser.budget={amount}GFLOP"]).tokeniser.stride == int(stride)


def test_an_override_that_does_not_meet_the_cost_is_refused_and_one_that_does_stays() -> None:
    cost = FlopMeter(compose(SMALL), "stride").cost(6)
    assert compose([*SMALL, f"tokeniser.budget={cost:.6f}GFLOP", "tokeniser.stride=7"]).tokeniser.stride == 7
    assert compose([*SMALL, f"tokeniser.budget={cost:.6f}GFLOP"]).tokeniser.stride == 6
    with pytest.raises(UserError, match=r"^tokeniser\.stride=3: this does not meet .* or use tokeniser\.stride=7\.$"):
        compose([*SMALL, f"tokeniser.budget={cost:.6f}GFLOP", "tokeniser.stride=3"])


@pytest.mark.parametrize("target", [0.5, 1.0, 3.9, 4.0, 50.0, 399.9, 400.0, 9000.0])
def test_the_bracket_is_that_of_all_costs(target: float) -> None:
    tried: list[int] = []

    def square(index: int) -> float:
        tried.append(index)
        return float(index**2)

    found = bracket(square, 1, 20, target, near_enough=0)
    costs = [one**2 for one in range(1, 21)]
    below, above = [one for one in costs if one < target][-1:], [one for one in costs if one >= target][:1]
    assert [one**2 for one in found] == [*below, *above]
    assert max(tried) <= max(1, 4 * found[-1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock with which L tokens take L + 2 ms; the list has the tokens of each timed call."""
    now, timed = 0.0, []

    def work(milliseconds: Callable[[Measurement], float]) -> Callable[[Measurement], None]:
        def run(measurement: Measurement) -> None:
            nonlocal now
            now += milliseconds(measurement) / 1000
            timed.append(measurement.cost.tokens)

        return run

    monkeypatch.setattr("vtok.evaluation.cost.timing.time.perf_counter", lambda: now)
    monkeypatch.setattr(Measurement, "run_tokeniser", work(lambda measurement: measurement.cost.tokens))
    monkeypatch.setattr(Measurement, "run_prefill", work(lambda measurement: 2.0))
    return timed


def test_milliseconds_are_measured_once_and_saved(
    clock: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*SMALL, f"outputs={tmp_path}", "tokeniser=resampler"]
    config = compose([*given, "tokeniser.budget=102ms"])
    assert abs(config.tokeniser.num_queries + 2 - 102) <= 0.15 * 102
    assert config.tokeniser.budget == config.tokeniser.num_queries
    (file,) = (tmp_path / "calibration").iterdir()
    content = json.loads(file.read_text())
    assert {"machine", "device", "threads", "torch", "clip.num_frames", "mllm.width"} <= set(content["depends_on"])
    assert "tokeniser.num_queries" not in content["depends_on"]
    assert all(one["milliseconds"] == pytest.approx(one["tokens"] + 2) for one in content["times"])
    assert max(one["tokens"] for one in content["times"]) <= 4 * 100

    clock.clear()
    assert compose([*given, "tokeniser.budget=102ms"]) == config
    assert main(["validate", *given, "tokeniser.budget=102ms"]) == 0
    shown = capsys.readouterr().out
    tokens = config.tokeniser.budget
    assert re.search(rf"^budget +102ms: tokeniser.num_queries={tokens} tokeniser.budget={tokens}$", shown, re.MULTILINE)
    assert re.search(rf"^cost +{tokens} tokens, [\d.]+ GFLOP, {tokens + 2} ms$", shown, re.MULTILINE)
    assert str(file) in shown
    assert main(["validate", *given, "tokeniser.budget=50"]) == 0
    assert re.search(r"^cost +50 tokens, [\d.]+ GFLOP, 52 ms$", capsys.readouterr().out, re.MULTILINE)
    assert clock == [], "saved times were measured again"

    # Another number of threads is another machine, and several processes do not measure.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^tokeniser\.budget: times are not measured while several processes run"):
        compose([*given, "tokeniser.budget=102ms"])
    monkeypatch.delenv("WORLD_SIZE")
    compose([*given, "tokeniser.budget=102ms"])
    assert clock != []
    assert len(list((tmp_path / "calibration").iterdir())) == 2


def test_validate_says_that_milliseconds_are_not_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *SMALL, "tokeniser.budget=20"]) == 0
    assert re.search(r"^cost +20 tokens, 0\.0\d+ GFLOP, ms not calibrated$", capsys.readouterr().out, re.MULTILINE)


def test_a_damaged_calibration_is_refused_by_its_name(clock: list[int], tmp_path: Path) -> None:
    given = [*SMALL, f"outputs={tmp_path}"]
    compose([*given, "tokeniser.budget=25ms"])
    (file,) = (tmp_path / "calibration").iterdir()
    for damaged in ('{"times": [{"value": 1}]}', "[]", "no"):
        file.write_text(damaged)
        with pytest.raises(UserError, match=re.escape(f"{file}: ")):
            compose([*given, "tokeniser.budget=25ms"])


def test_a_run_stores_what_was_chosen(clock: list[int], tiny_run: list[str]) -> None:
    given = [*tiny_run, "clip.num_frames=30"]
    assert main(["train", *given, "tokeniser.budget=30ms", "hydra.run.dir=${outputs}/runs/one"]) == 0
    outputs = Path(next(item for item in tiny_run if item.startswith("outputs=")).partition("=")[2])
    written = OmegaConf.load(outputs / "runs" / "one" / "config.yaml")
    tokens = 16 + -(-30 // written.tokeniser.stride) - 1
    assert written.tokeniser.budget == tokens
    assert abs(tokens + 2 - 30) <= 0.15 * 30
    # On a machine without the calibration the saved run is the same, and nothing is measured.
    for file in (outputs / "calibration").iterdir():
        file.unlink()
    clock.clear()
    assert load_config(outputs / "runs" / "one").tokeniser == written.tokeniser
    assert clock == []


def test_times_rise_and_are_interpolated_between_measured_ones(tmp_path: Path) -> None:
    calibration = Calibration(compose([f"outputs={tmp_path}"]), "stride")
    calibration.path.parent.mkdir()
    # The time of 18 tokens was measured while the machine did other work.
    measured = {10: (18, 13.0), 6: (20, 10.0), 3: (25, 20.0)}
    times = [{"value": k, "tokens": tokens, "milliseconds": time} for k, (tokens, time) in measured.items()]
    calibration.path.write_text(json.dumps({"depends_on": {}, "times": times}))
    read = Calibration(compose([f"outputs={tmp_path}"]), "stride")
    assert [read.milliseconds(tokens) for tokens in (17, 18, 20, 22, 25, 26)] == [None, 10.0, 10.0, 14.0, 20.0, None]
