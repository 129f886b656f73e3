"""Probes on tokens whose content is known."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from vtok.backbone import TinyBackbone
from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.data import Clip, ClipSample, DataSource, LoaderSettings, Question
from vtok.evaluation.clips import HeldoutBatch
from vtok.evaluation.probing.fit import LEARNING_RATE
from vtok.evaluation.probing.measures import (
    Probes,
    labels_of,
    recurring_answers,
    unexplained_variance,
)
from vtok.evaluation.probing.probes import AttentiveProbe, LinearProbe
from vtok.evaluation.probing.run import Probing
from vtok.evaluation.probing.samples import (
    ORDERS,
    ProbeSplit,
    extract_split,
    randomise_frames,
    reverse_frames,
    shuffle_frames,
)
from vtok.model.batch import stack_frames
from vtok.tokeniser import (
    CodecMotionTokeniser,
    FrameSamplingTokeniser,
    GridPooling,
    KeyFrameTokeniser,
    MeanPooling,
    Tokeniser,
    TransformerPooling,
    VideoTokens,
    VTokTokeniser,
)

WAYS = ("right", "left")


def moving(number: int, *, frames: int = 5, key: int = 0) -> ClipSample:
    """A white bar on black that moves to the right or left, and a question about the direction."""
    way = WAYS[number % 2]
    pixels = torch.zeros(frames, 3, 32, 32, dtype=torch.uint8)
    row = 2 + 7 * (number // 2) % 20
    for time in range(frames):
        column = 3 + 5 * time if way == "right" else 23 - 5 * time
        pixels[time, :, row : row + 8, column : column + 6] = 255
    asked = Question("way", "choice", "which way?", way, WAYS)
    open_one = Question("way", "open", "say more", "nothing")
    clip = Clip(f"clip {number}", Path(str(number)), questions=(open_one, asked))
    return ClipSample(pixels, torch.arange(float(frames)), key, clip, 0, target=pixels)


def read(tokeniser: Tokeniser, numbers: range, *, key: int = 0) -> ProbeSplit:
    samples = [moving(number, key=key) for number in numbers]
    batches = [HeldoutBatch(samples[:7], []), HeldoutBatch(samples[7:], [("x.mp4", "it is empty")])]
    return extract_split(tokeniser, batches, orders=ORDERS)


GRID = partial(GridPooling, size=2)


def tokeniser_of(kind: Callable[..., Tokeniser], **settings: object) -> Tokeniser:
    torch.manual_seed(0)
    return kind(TinyBackbone(feature_dim=16, width=8), stride=1, grid_size=2, token_dim=12, **settings)


def probes_of(tokeniser: Tokeniser, *, steps: int = 80, tuned: bool = True) -> Probes:
    return Probes(tokeniser, tokeniser.planner.num_tokens(5), steps=steps, tuned=tuned, seed=0)


@pytest.mark.parametrize("kind", [LinearProbe, AttentiveProbe])
def test_direction_is_probed_from_motion_tokens_and_not_from_a_still(kind: type) -> None:
    shares = {}
    # The middle frame, which is the key frame, is the same for both directions.
    for one, settings in ((VTokTokeniser, {"motion_pooling": GRID}), (KeyFrameTokeniser, {})):
        tokeniser = tokeniser_of(one, key_frame="middle", **settings)
        train, heldout = read(tokeniser, range(60), key=2), read(tokeniser, range(60, 100), key=2)
        answers = {"way": ["left", "right"]}
        [(category, accuracy)] = probes_of(tokeniser).answers_of(kind, train.samples, heldout.samples, answers)
        assert (category, len(accuracy.answers), accuracy.chance) == ("way", 40, 0.5)
        shares[one] = accuracy.share
    assert shares[VTokTokeniser] > 0.9
    assert shares[KeyFrameTokeniser] < 0.75


def test_a_probe_trains_a_copy_of_the_tokeniser_only_if_tuned() -> None:
    tokeniser = tokeniser_of(VTokTokeniser)
    before = {name: tensor.clone() for name, tensor in tokeniser.state_dict().items()}
    train = read(tokeniser, range(20))
    for tuned in (True, False):
        labels = labels_of(train.samples, {"way": list(WAYS)})
        probe = probes_of(tokeniser, steps=3, tuned=tuned)._fit(LinearProbe, train.samples, labels, [2])
        assert probe.tokeniser.backbone is tokeniser.backbone
        moved = not torch.equal(probe.tokeniser.motion.project[0].weight, tokeniser.motion.project[0].weight)
        assert moved == tuned
    assert all(torch.equal(before[name], tensor) for name, tensor in tokeniser.state_dict().items())


def test_nan_features_are_refused() -> None:
    tokeniser = tokeniser_of(VTokTokeniser)
    with torch.no_grad():
        next(tokeniser.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="features of clips are not finite numbers"):
        read(tokeniser, range(4))


def test_order_is_recognised_only_from_tokens_that_hold_it() -> None:
    moves = tokeniser_of(VTokTokeniser, motion_pooling=GRID)
    still = tokeniser_of(KeyFrameTokeniser, key_frame="middle")
    found = {}
    for tokeniser in (moves, still):
        # All true clips move to the right, so a reversed one moves to the left.
        train, heldout = read(tokeniser, range(0, 80, 2), key=2), read(tokeniser, range(80, 120, 2), key=2)
        probes = probes_of(tokeniser)
        accuracy = probes.order_accuracy(train, heldout, "reversed")
        assert (len(accuracy.answers), accuracy.chance) == (40, 0.5)
        assert len({one.group for one in accuracy.answers}) == 20, "a clip and its reverse are one observation"
        found[tokeniser] = accuracy.share, probes.order_distance(heldout.samples, heldout.orders["reversed"])
    assert found[moves][0] > 0.9
    assert found[moves][1] > 0.1
    assert found[still] == (0.5, 0.0)


def test_features_are_reconstructed_from_tokens_that_hold_them() -> None:
    every, one = tokeniser_of(FrameSamplingTokeniser), tokeniser_of(KeyFrameTokeniser)
    metrics = {}
    for tokeniser in (every, one):
        train, heldout = read(tokeniser, range(120)), read(tokeniser, range(120, 180))
        assert train.targets[0].shape == (5, 4, 16)
        metrics[tokeniser] = probes_of(tokeniser).reconstruction(train, heldout)
    # The tokens of frame sampling are the features themselves, in 12 of 16 directions.
    assert metrics[every]["reconstruction/frames"] < 0.2
    assert metrics[every]["reconstruction/change"] < metrics[one]["reconstruction/change"]
    assert metrics[one]["reconstruction/change"] <= 1.1


def test_unexplained_variance_is_0_for_the_truth_and_1_for_its_mean() -> None:
    truth = torch.randn(50, 3, 4)
    assert unexplained_variance(truth, truth) == 0
    assert unexplained_variance(truth.mean(0).expand_as(truth), truth) == pytest.approx(1)


def test_other_orders_have_the_same_frames() -> None:
    sample = replace(moving(0), timestamps=torch.tensor([0.0, 1.0, 3.0, 4.0, 9.0]))
    assert torch.equal(reverse_frames(sample).frames, sample.frames.flip(0))
    assert reverse_frames(sample).timestamps.tolist() == [0, 5, 6, 8, 9]
    for number in range(30):
        other = shuffle_frames(moving(number))
        places = [int((moving(number).frames == frame).flatten(1).all(1).nonzero()) for frame in other.frames]
        assert sorted(places) == [0, 1, 2, 3, 4] != places
        assert torch.equal(other.timestamps, moving(number).timestamps)


def test_clips_of_several_lengths_and_broken_ones() -> None:
    tokeniser = tokeniser_of(VTokTokeniser)
    samples = [moving(number, frames=3 + number % 3) for number in range(20)]
    for sample in samples:
        assert sample.target is not None
    samples = [replace(one, target=one.frames[:3]) for one in samples]
    mixed = extract_split(tokeniser, [HeldoutBatch(samples, [("x.mp4", "it is empty")])], orders=["shuffled"])
    assert [one.num_planned for one in mixed.samples] == [one.num_planned for one in samples]
    assert mixed.bad == [("x.mp4", "it is empty")]
    whole = tokeniser.extract(stack_frames([samples[5]]))["residual"][0]
    torch.testing.assert_close(mixed.samples[5].pooled["residual"], whole)
    assert list(mixed.orders) == ["shuffled"]
    probes = probes_of(tokeniser, steps=2)
    accuracies = probes.answers(mixed.samples, mixed.samples)
    assert {name: len(one.answers) for name, one in accuracies.items()} == {"linear/way": 20, "attentive/way": 20}
    assert probes.order_distance(mixed.samples, mixed.orders["shuffled"]) > 0


def test_clips_with_motion_vectors_have_one_order() -> None:
    tokeniser = CodecMotionTokeniser(TinyBackbone(feature_dim=16, width=8), stride=1, motion_grid=2)
    samples = [replace(moving(number), vectors=torch.randn(5, 3, 2, 2)) for number in range(4)]
    read = extract_split(tokeniser, [HeldoutBatch(samples, [])], orders=ORDERS)
    assert (len(read.samples), dict(read.orders)) == (4, {})


def test_categories_are_those_whose_answers_recur() -> None:
    def clip(category: str, answer: str, kind: str = "choice") -> Clip:
        return Clip("a", Path("a"), questions=(Question(category, kind, "?", answer, (answer, "no")),))

    clips = [clip("colour", "red"), clip("colour", "blue")] * 2 + [clip("one", "same")] * 4
    clips += [clip("all_different", str(number)) for number in range(9)] + [clip("asked", "yes", "yes_no")] * 4
    assert recurring_answers(clips) == {"colour": ["blue", "red"]}
    samples = [replace(moving(0), clip=one) for one in clips[:2] + clips[4:5]]
    assert labels_of(samples, {"colour": ["blue", "red"]}).tolist() == [[1], [0], [-1]]


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_order_of_tokens_is_read_at_any_scale_of_features(scale: float) -> None:
    torch.manual_seed(0)
    first, common = torch.randn(2, 16)
    labels = torch.randint(0, 2, (256,))
    # All clips have the same two vectors, in one of two orders, on top of what all tokens share.
    tokens = torch.where((labels.view(-1, 1, 1) == torch.arange(2).view(1, 2, 1)), first, -first) + 10 * common
    video = VideoTokens(
        tokens=scale * tokens, kind=torch.zeros(2, dtype=torch.long), timestamps=torch.zeros(256, 2),
        mask=torch.ones(256, 2, dtype=torch.bool), places=torch.zeros(256, 2, 2), weights=torch.ones(256, 2),
    )  # fmt: skip
    probe = AttentiveProbe(tokens=2, token_dim=16, outputs=[2])
    optimiser = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(probe(video)[0], labels).backward()
        optimiser.step()
    assert (probe.eval()(video)[0].argmax(1) == labels).all()


def test_a_probe_ignores_padding() -> None:
    tokeniser = tokeniser_of(VTokTokeniser)
    long, short = moving(0), moving(1, frames=3)
    torch.manual_seed(0)
    for kind in (LinearProbe, AttentiveProbe):
        probe = kind(tokens=8, token_dim=12, outputs=[2, 3]).eval()
        alone = probe(tokeniser.encode_planned(stack_frames([short])))
        together = probe(tokeniser.encode_planned(stack_frames([long, short])))
        assert [one.shape for one in together] == [(2, 2), (2, 3)]
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[1], atol=1e-5, rtol=1e-5)


def test_what_moves_is_not_found_with_all_frames_in_random_order() -> None:
    tokeniser = tokeniser_of(FrameSamplingTokeniser)
    train, heldout = read(tokeniser, range(60)), read(tokeniser, range(60, 100))
    probing = Probing(steps=80, train_clips=99, test_clips=99, tuned=True, measures=["answers", "shuffled"])
    found = probing(tokeniser, train, heldout, seed=0).accuracies
    assert found["attentive/way"].share > 0.9
    assert found["shuffled/attentive/way"].share < 0.75


POOLINGS = {"mean": MeanPooling, "transformer": partial(TransformerPooling, heads=2)}


@pytest.mark.parametrize(
    ("same_backbone", "pooling", "splits"), [(True, "mean", 2), (False, "mean", 4), (True, "transformer", 4)]
)
def test_clips_are_encoded_once_for_all_seeds_with_the_same_features(
    same_backbone: bool, pooling: str, splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = []

    def read_split(
        probing: Probing, tokeniser: Tokeniser, source: object, loader: object, split: str, *, most: int | None = None
    ) -> ProbeSplit:
        whole.extend([split] if most is None else [])
        return read(tokeniser, range(12)[:most] if split == "train" else range(12, 16))

    def make(seed: int) -> Tokeniser:
        torch.manual_seed(0 if same_backbone else seed)
        backbone = TinyBackbone(feature_dim=16, width=8)
        torch.manual_seed(seed)
        return VTokTokeniser(backbone, stride=1, grid_size=2, token_dim=12, motion_pooling=POOLINGS[pooling])

    monkeypatch.setattr(Probing, "read", read_split)
    probing = Probing(steps=3, train_clips=9, test_clips=9, tuned=True, measures=["answers", "reconstruction"])
    several = probing.probe_seeds(make, DataSource, LoaderSettings, [3, 4])
    assert len(whole) == splits
    [alone] = probing.probe_seeds(make, DataSource, LoaderSettings, [4])
    other, same, again = (one.numbers["reconstruction/frames"] for one in (*several, alone))
    assert other != same == again
    assert several[1].accuracies == alone.accuracies


def test_two_frames_in_random_order_are_as_often_swapped_as_not() -> None:
    samples = [moving(number, frames=2) for number in range(200)]
    swapped = [not torch.equal(randomise_frames(one).frames, one.frames) for one in samples]
    assert 75 < sum(swapped) < 125
    assert all(not torch.equal(shuffle_frames(one).frames, one.frames) for one in samples)


def test_what_clips_with_motion_vectors_do_not_allow_is_said(caplog: pytest.LogCaptureFixture) -> None:
    tokeniser = CodecMotionTokeniser(TinyBackbone(feature_dim=16, width=8), stride=1, motion_grid=2)
    samples = [replace(moving(number), vectors=torch.randn(5, 3, 2, 2)) for number in range(8)]
    split = extract_split(tokeniser, [HeldoutBatch(samples, [])], orders=ORDERS)
    probing = Probing(steps=2, train_clips=9, test_clips=9, tuned=True, measures=["answers", "shuffled"])
    assert set(probing(tokeniser, split, split, seed=0).accuracies) == {"linear/way", "attentive/way"}
    assert "shuffled is not measured: clips with motion vectors have no other order" in caplog.text
    with pytest.raises(UserError, match=r"measures=\[shuffled\]: these clips allow none of them"):
        replace(probing, measures=["shuffled"])(tokeniser, split, split, seed=0)


def test_the_command(tiny_settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probes.json"
    given = [*tiny_settings, f"outputs={tmp_path / 'outputs'}", "steps=2", f"out={out}"]
    assert main(["probe", *given, "tokenisers=[vtok,key_frame]", f"answers={tmp_path / 'answers.parquet'}"]) == 0
    assert {row["tokeniser"] for row in pq.read_table(tmp_path / "answers.parquet").to_pylist()} == {
        "vtok",
        "key_frame",
    }
    metrics = json.loads(out.read_text())
    assert set(metrics) == {"vtok", "key_frame"}
    assert metrics["vtok"]["tokens_per_clip"] == 17
    assert metrics["vtok"]["probe/linear/colour_questions"] == 4
    shown = capsys.readouterr().out
    assert "order/accuracy/shuffled" in shown
    assert re.search(r"linear/colour +key_frame +vtok", shown), "the differences from the first tokeniser"
    assert "One seed each: a difference is between these two models." in shown
    assert main(["probe", *given, "seeds=2"]) == 0
    [metrics] = json.loads(out.read_text()).values()
    assert metrics["seeds"] == 2
    assert main(["probe", *given, "measures=[answers,shuffled]"]) == 0
    [metrics] = json.loads(out.read_text()).values()
    kinds = {name.split("/")[1] for name in metrics if name.startswith("probe/")}
    assert kinds == {"linear", "attentive", "shuffled"}
    assert metrics["probe/shuffled/attentive/colour_questions"] == 4
    assert main(["probe", *given, "measures=[]"]) == 1
    assert "there is nothing to measure" in capsys.readouterr().err
    assert main(["probe", *given, "measures=[answer]"]) == 1
    assert "measures=[answer]" in capsys.readouterr().err
    assert main(["probe", "steps=1", *given[:-2]]) == 1
    assert "steps=1: must be an integer >= 2" in capsys.readouterr().err
    assert main(["probe", "run=latest", "tokenisers=[vtok]", *given[-3:-2]]) == 1
    assert "Set either run or tokenisers" in capsys.readouterr().err
