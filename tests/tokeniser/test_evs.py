import numpy as np
import pytest

from vtok.common.errors import UserError
from vtok.tokeniser import EvsTokeniser


def kept(features: np.ndarray, tokens: int) -> list[list[int]]:
    """The first frame, and the patches with the highest 1 - cosine similarity, one after the other."""
    scores = {}
    for frame in range(1, len(features)):
        for place in range(16):
            now, before = features[frame, place], features[frame - 1, place]
            scores[16 * frame + place] = 1 - now @ before / (np.linalg.norm(now) * np.linalg.norm(before))
    best = sorted(scores, key=lambda patch: -scores[patch])
    return [[patch] for patch in [*range(16), *best[: tokens - 16]]]


@pytest.mark.parametrize("tokens", [16, 20, 46, 80])
def test_tokens_are_those_of_the_formula(tokens: int, video, blocks, features, check) -> None:
    result = EvsTokeniser(blocks, stride=1, num_tokens=tokens).encode(video)
    for row, frames in enumerate(video):
        check(result, row, kept(features(frames), tokens), frames, range(5))


def test_a_corner_that_changes_is_what_is_kept(video, blocks) -> None:
    result = EvsTokeniser(blocks, stride=1, num_tokens=17).encode(video[2:])
    assert result.places[0, 16].tolist() == [0.125, 0.125]
    assert result.timestamps[0, 16] in (3, 4)


def test_fewer_tokens_than_the_first_frame_has_are_refused(blocks) -> None:
    with pytest.raises(UserError, match=r"num_tokens=15 is fewer than the 16 patches.*Use 16 or more"):
        EvsTokeniser(blocks, num_tokens=15)
    assert EvsTokeniser(blocks, grid_size=2, num_tokens=15).planner.num_tokens(5) == 15
