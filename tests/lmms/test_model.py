"""The model of lmms-eval, asked as its evaluator asks: against `vtok describe` and the benchmark's own choices."""

import inspect
import tomllib
from dataclasses import fields
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vtok.cli.verbs.describe import describe
from vtok.common.errors import UserError
from vtok.config import compose
from vtok.data import Question
from vtok.evaluation.choice import choose
from vtok.inference.clip import read_clip
from vtok.inference.load import load_run
from vtok.model import Objective
from vtok.model.batch import stack_frames

GREEDY = {"max_new_tokens": 12, "temperature": 0, "do_sample": False}
TEXTS = ("what moves?", "which colour is it?", "how many things are there?")


def test_answers_are_those_of_describe_in_their_order(run_dir: Path, videos: list[Path], make_model, ask) -> None:
    asked = [
        (text, {**GREEDY, "max_new_tokens": tokens}, [str(video)])
        for tokens, text in ((12, TEXTS[0]), (5, TEXTS[1]))
        for video in videos
    ]
    truth = [
        describe(video=shown[0], prompt=text, run=str(run_dir), max_new_tokens=settings["max_new_tokens"])
        for text, settings, shown in asked
    ]
    assert len(set(truth)) == 6
    # Settings alternate, so that questions are not answered in the order in which they come.
    shuffled = [*range(0, len(asked), 2), *range(1, len(asked), 2)][::-1]
    for batch_size in (1, "2"):
        model = make_model(run_dir, batch_size=batch_size)
        answers = model.generate_until(ask(model, "generate_until", *(asked[number] for number in shuffled)))
        assert answers == [truth[number] for number in shuffled]


def test_an_answer_ends_before_the_first_of_the_texts(run_dir: Path, videos: list[Path], make_model, ask) -> None:
    model = make_model(run_dir)
    shown = [str(videos[0])]
    (whole,) = model.generate_until(ask(model, "generate_until", (TEXTS[0], GREEDY, shown)))
    assert len(whole) > 4
    for until in (whole[3:5], ["never to be seen", whole[-1], whole[2:4]], "", None, ["never to be seen"]):
        (answer,) = model.generate_until(ask(model, "generate_until", (TEXTS[0], {**GREEDY, "until": until}, shown)))
        ends = [whole.find(text) for text in ([until] if isinstance(until, str) else until or []) if text]
        assert answer == whole[: min((end for end in ends if end >= 0), default=len(whole))]


def test_frames_are_from_the_start_or_from_the_full_video(run_dir: Path, videos: list[Path], make_model, ask) -> None:
    _, config, model = load_run(str(run_dir), outputs="")
    planner = model.tokeniser.planner
    first, _ = read_clip(config, planner, str(videos[0]), start=0.0)
    everywhere, seconds = read_clip(config, planner, str(videos[0]), start=0.0, spread=True)
    # 12 frames of 60 at 24 a second, the planned ones 3 apart.
    torch.testing.assert_close(first.timestamps, torch.arange(4) * 3 / 24)
    torch.testing.assert_close(everywhere.timestamps, torch.arange(4) * 15 / 24)
    assert seconds[0] == 0
    assert first.frames.float().std(0).max() < 5 < everywhere.frames.float().std(0).max()

    answers = [
        model.describe(stack_frames([sample]), [TEXTS[0]], max_new_tokens=40)[0] for sample in (first, everywhere)
    ]
    assert answers[0] != answers[1]
    for spread, truth in zip((False, True), answers, strict=True):
        adapter = make_model(run_dir, spread=spread)
        assert adapter.generate_until(
            ask(adapter, "generate_until", (TEXTS[0], {**GREEDY, "max_new_tokens": 40}, [str(videos[0])]))
        ) == [truth]


def test_a_run_on_a_mixture_can_read_the_full_video(run_dir: Path, videos: list[Path]) -> None:
    _, config, model = load_run(str(run_dir), outputs="")
    source = ["+data@data.sources.own=folder", f"data.sources.own.root={videos[0].parent}"]
    config.data, config.clip.fps = compose(["data=mixture", *source]).data, 24
    sample, _ = read_clip(config, model.tokeniser.planner, str(videos[0]), start=0.0, spread=True)
    torch.testing.assert_close(sample.timestamps, torch.arange(4) * 15 / 24)


def test_a_short_video_is_read_as_it_is(run_dir: Path, make_video, tmp_path: Path) -> None:
    _, config, model = load_run(str(run_dir), outputs="")
    video = str(make_video(tmp_path / "short.mp4", 7))
    samples = [
        read_clip(config, model.tokeniser.planner, video, start=0.0, spread=spread)[0] for spread in (False, True)
    ]
    assert torch.equal(samples[0].timestamps, samples[1].timestamps)


def test_the_lowest_loss_is_the_choice_of_the_benchmark(run_dir: Path, videos: list[Path], make_model, ask) -> None:
    _, config, model = load_run(str(run_dir), outputs="")
    choices = ("red", "two", "up", "left")
    samples = [read_clip(config, model.tokeniser.planner, str(video), start=0.0)[0] for video in videos]
    with torch.no_grad():
        tokens = model.tokeniser.encode_planned(stack_frames(samples))
    questions = [(row, Question("any", "choice", text, choices[0], choices)) for row in range(3) for text in TEXTS]
    truth = choose(model, tokens, questions, sequences_at_once=4)
    assert len(set(truth)) > 1

    for batch_size in (1, 4):
        adapter = make_model(run_dir, batch_size=batch_size)
        asked = [(question.text, f" {choice}", [str(videos[row])]) for row, question in questions for choice in choices]
        scored = adapter.loglikelihood(ask(adapter, "loglikelihood", *asked))
        losses = torch.tensor([loss for loss, _ in scored]).view(-1, len(choices))
        assert [choices[number] for number in losses.argmin(1).tolist()] == truth
        assert (losses > 0).all()
        assert not any(greedy for _, greedy in scored)


def test_an_answer_is_greedy_where_each_of_its_tokens_is_the_likeliest(
    run_dir: Path, videos: list[Path], make_model, ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_model(run_dir)
    chat = adapter.model.mllm.chat
    likeliest = [*chat.tokenizer.encode("red", add_special_tokens=False), chat.end_id]

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(likeliest), len(chat.tokenizer)).float()[: len(hidden)]

    monkeypatch.setattr(adapter.model.mllm, "logits", logits)
    other = chat.tokenizer.decode([*likeliest[:-2], likeliest[-2] - 1])
    assert len(chat.tokenizer.encode(other, add_special_tokens=False)) == len(likeliest) - 1
    asked = [("what?", answer, [str(videos[0])]) for answer in ("red", lambda doc: other)]
    assert [greedy for _, greedy in adapter.loglikelihood(ask(adapter, "loglikelihood", *asked))] == [True, False]


@pytest.mark.parametrize(
    ("visuals", "settings", "message"),
    [
        (
            ["a.mp4", "b.mp4"],
            GREEDY,
            "made 0: the question is about 2 visuals (str, str), and vtok answers",
        ),
        ([Image.new("RGB", (8, 8))], GREEDY, "about 1 visuals (Image)"),
        ([], GREEDY, "about 0 visuals, and vtok"),
        (None, GREEDY, "about 0 visuals, and vtok"),
        (["absent.mp4"], GREEDY, "absent.mp4"),
        (["a.mp4"], {"do_sample": True}, "Use --gen_kwargs do_sample=False,num_beams=1"),
        (["a.mp4"], {"temperature": 0.7}, "Use --gen_kwargs"),
        (["a.mp4"], {"num_beams": 4}, "Use --gen_kwargs"),
        (["a.mp4"], {"max_new_tokens": 0}, "max_new_tokens=0: must be an integer >= 1"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_one_line(
    run_dir: Path, make_model, ask, visuals: object, settings: dict, message: str
) -> None:
    model = make_model(run_dir)
    with pytest.raises(UserError) as error:
        model.generate_until(ask(model, "generate_until", ("what?", settings, visuals)))
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_message_about_a_long_question_names_its_task(run_dir: Path, videos: list[Path], make_model, ask) -> None:
    model = make_model(run_dir)
    shown = [str(videos[0])]
    for kind, given in (("generate_until", GREEDY), ("loglikelihood", "red")):
        requests = ask(model, kind, ("what?", given, shown), ("and then " * 5000, given, shown))
        with pytest.raises(UserError, match=r"^made 1: .* tokens, more than the run's mllm.context_length="):
            getattr(model, kind)(requests)


def test_a_run_that_was_not_trained_to_answer_is_refused(
    run_dir: Path, make_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*given: Any, **settings: Any) -> Any:
        loaded = load_run(*given, **settings)
        monkeypatch.setattr(Objective, "understands", False)
        return loaded

    monkeypatch.setattr("vtok.inference.load.load_run", load)
    with pytest.raises(UserError, match=r"objective\.lambda_under is 0"):
        make_model(run_dir)


def test_mistaken_settings_are_refused(run_dir: Path, make_model) -> None:
    for batch_size in ("auto", 0):
        with pytest.raises(UserError, match=f"--batch_size {batch_size}: must be an integer >= 1"):
            make_model(run_dir, batch_size=batch_size)
    with pytest.raises(UserError, match=r"run=nowhere is not a folder"):
        make_model(Path("nowhere"))
    with pytest.raises(UserError, match="tasks with a single round"):
        make_model(run_dir).generate_until_multi_round([])


def test_the_entry_point_names_the_class(lmms_eval: None) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = EntryPoint("vtok", project["entry-points"]["lmms_eval.models"]["vtok"], "lmms_eval.models")
    manifest = found.load()()
    assert manifest.model_id == "vtok"
    module, _, name = manifest.simple_class_path.rpartition(".")
    assert getattr(import_module(module), name).is_simple


def test_the_stand_in_has_the_signatures_of_lmms_eval(stand_ins: dict[str, dict[str, type]]) -> None:
    pytest.importorskip("lmms_eval")
    for module, content in stand_ins.items():
        for name, stand_in in content.items():
            real = getattr(import_module(module), name)
            if name == "lmms":
                methods = {one for one in vars(real) if getattr(vars(real)[one], "__isabstractmethod__", False)}
                assert methods == stand_in.__abstractmethods__
                for method in methods:
                    ours = inspect.signature(getattr(stand_in, method))
                    assert list(inspect.signature(getattr(real, method)).parameters) == list(ours.parameters)
            else:
                assert {one.name for one in fields(stand_in)} <= {one.name for one in fields(real)}
