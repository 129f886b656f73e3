"""vtok precompute: which configurations its cache is for."""

import pytest

from vtok.cli.verbs.precompute import configurations


@pytest.mark.parametrize("overrides", [[], ["tokeniser=vtok"]])
def test_each_tokeniser_that_has_a_stride_is_planned_for_further_strides(overrides: list[str]) -> None:
    """Whether tokenisers are named or not."""
    configs = configurations(["elastic", "vtok"], [3], overrides)
    assert [config.tokeniser.get("stride") for config in configs] == [None, 6, 3]
    every = configurations([], [3], overrides)
    strides = [one.tokeniser.stride for one in every if one.tokeniser._target_.endswith(".VTokTokeniser")]
    assert strides[:2] == [6, 3]
