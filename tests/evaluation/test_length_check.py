"""Texts that are too long for the language model: only their own clips are left out, and they are reported."""

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from vtok.data import ClipSample, ClipSettings, FolderData, LoaderSettings, Question
from vtok.evaluation import Alignment, evaluate_generation_heldout, evaluate_heldout
from vtok.evaluation.length_check import clip_text_check
from vtok.model import VideoLanguageModel

MakeModel = Callable[..., VideoLanguageModel]
HERE = LoaderSettings(num_workers=0)
LONG = "a very long story " * 400


@pytest.fixture
def source(make_video: Callable[..., Path], tmp_path: Path) -> FolderData:
    """Six held-out clips; the caption of one is too long, and the question of another."""
    for number in range(6):
        make_video(tmp_path / f"{number}.mp4", 12)
    rows = ["video,caption,question,answer,choices,split"]
    rows += [f"{number}.mp4,{LONG if number == 2 else f'clip {number}'},,,,test" for number in range(5)]
    rows += [f"5.mp4,,{LONG}?,yes,yes|no,test"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return FolderData(root=tmp_path, clip=ClipSettings(size=32, num_frames=12))


def test_texts_are_refused_by_their_encoded_length(
    make_model: MakeModel, make_sample: Callable[..., ClipSample]
) -> None:
    fits = clip_text_check(make_model())
    assert pickle.loads(pickle.dumps(fits)).text_limit.context_length == fits.text_limit.context_length == 1024
    tokens = fits.planner.num_tokens(4)
    fitting = set()
    for words in range(150, 1100, 7):
        caption = "zebra " * words
        sample = make_sample(1, caption=caption)
        for asked in (sample, replace(sample, clip=replace(sample.clip, questions=(choice(caption),)))):
            turns = [("q", caption), ("q", "no")] if asked.clip.questions else [("describe the video.", caption)]
            # The end of an answer is not read.
            longest = max(len(fits.text_limit.chat.encode([turn], num_video_tokens=tokens).ids) - 1 for turn in turns)
            reason = fits(asked)
            assert (reason is None) == (longest <= 1024)
            fitting.add(reason is None)
            if reason is not None:
                assert f"make {longest} tokens, more than mllm.context_length=1024" in reason
        assert fits.caption_fits(caption, 19) == (
            len(fits.text_limit.chat.encode([("describe the video.", caption)], num_video_tokens=tokens).ids) <= 1024
        )
    assert fitting == {True, False}


def choice(text: str) -> Question:
    return Question("colour", "choice", "q", text, (text, "no"))


def test_alignment_leaves_out_a_clip_whose_text_is_too_long(make_model: MakeModel, source: FolderData) -> None:
    alignment = Alignment(max_clips=None, batch_size=2, sequences_at_once=8, captions=True, max_new_tokens=4)
    clips = source.clips("test")
    result = evaluate_heldout(alignment, make_model(), source, clips, loader=HERE, precision=nullcontext(), examples=9)
    assert result.clips == 4
    assert [Path(path).name for path, _ in result.bad] == ["2.mp4", "5.mp4"]
    assert all("Shorten the text, or raise mllm.context_length" in reason for _, reason in result.bad)
    assert result.metrics()["alignment/caption_questions"] == 4
    assert not any(LONG.strip() in text for example in result.examples for answer in example.answers for text in answer)


def test_generation_leaves_out_a_clip_whose_caption_is_too_long(
    make_model: MakeModel, make_generation: Callable, judge: object, source: FolderData
) -> None:
    model = make_model(lambdas=(1.0, 1.0, 0.0))
    clips = source.clips("test")
    result = evaluate_generation_heldout(
        make_generation(judge), model, source, clips, loader=HERE, precision=nullcontext()
    )
    assert result.clips == 4
    assert [Path(path).name for path, _ in result.bad] == ["2.mp4"]
