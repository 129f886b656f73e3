"""Trained weights must be float32, which is checked before any weight is read."""

import pytest

from vtok.common.errors import UserError
from vtok.config import check, compose

HUNYUAN = ["objective=joint", "decoder=hunyuan_video", "generation/judge=own", "clip.num_frames=17"]


@pytest.mark.parametrize(
    ("overrides", "key", "instead"),
    [
        (["mllm=causal_lm", "mllm.dtype=bfloat16"], "mllm.dtype=bfloat16", "'mllm.lora={rank:16}', whose adapters"),
        (["mllm=llava_next", "backbone=clip", "mllm.dtype=float16"], "mllm.dtype=float16", "mllm.frozen=true"),
        (["backbone=clip", "backbone.frozen=false", "backbone.dtype=bfloat16"], "backbone.dtype=bfloat16", ""),
        (["backbone=vision", "backbone.frozen=false", "backbone.dtype=float16"], "backbone.dtype=float16", ""),
        ([*HUNYUAN, "decoder.frozen=false"], "decoder.dtype=bfloat16", "decoder.frozen=true"),
        (["objective=joint", "decoder=wan", "decoder.frozen=false"], "decoder.dtype=bfloat16", "decoder.frozen=true"),
    ],
)
def test_trained_weights_of_16_bits_are_refused(overrides: list[str], key: str, instead: str) -> None:
    with pytest.raises(UserError) as error:
        check(compose(overrides))
    message, group = str(error.value), key.partition(".")[0]
    assert message.startswith(f"{key}: ")
    assert f"Use {group}.dtype=float32, with trainer.precision=bf16" in message
    assert f"{group}.frozen=true" in message
    assert instead in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["mllm=causal_lm", "mllm.dtype=bfloat16", "mllm.frozen=true"],
        ["mllm=causal_lm", "mllm.dtype=bfloat16", "mllm.lora={rank:4}"],
        ["mllm=causal_lm", "trainer.precision=bf16"],
        ["backbone=clip", "backbone.dtype=bfloat16"],
        ["backbone=clip", "backbone.frozen=false"],
        HUNYUAN,
        [*HUNYUAN, "decoder.frozen=false", "decoder.dtype=float32"],
        [*HUNYUAN, "decoder.frozen=false", "objective.lambda_dec=0"],
    ],
    ids=" ".join,
)
def test_frozen_or_float32_weights_are_accepted(overrides: list[str]) -> None:
    check(compose(overrides))


def test_a_trained_decoder_cannot_be_offloaded() -> None:
    offload = [*HUNYUAN, "decoder.offload=true"]
    check(compose([*offload, "decoder.pooled=clip_text"]))
    with pytest.raises(
        UserError, match=r"^decoder\.offload=true: .*Use decoder\.frozen=true or decoder\.offload=false"
    ):
        check(compose([*offload, "decoder.frozen=false", "decoder.dtype=float32"]))


def test_the_second_text_input_is_chosen_from_two() -> None:
    with pytest.raises(UserError, match=r"^decoder\.pooled=clip: .*Did you mean clip_text\?"):
        check(compose([*HUNYUAN, "decoder.pooled=clip"]))
