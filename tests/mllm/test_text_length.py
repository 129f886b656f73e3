"""The fast length check never accepts a text that is too long."""

import random

import pytest

from vtok.mllm import ChatTokeniser, LengthCheck
from vtok.mllm.tiny import byte_level_tokenizer


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_never_below_the_encoded_length(seed: int) -> None:
    draw = random.Random(seed)
    chats = ChatTokeniser(byte_level_tokenizer())
    words = ["zebra", "é", "视频", "🎬", " ", "<video>", "a"]
    question, answer = ("".join(draw.choices(words, k=draw.randint(0, 30))) for _ in range(2))
    turn = (question, answer)
    chat = chats.encode([turn], num_video_tokens=9)
    length = len(chat.ids)
    assert not LengthCheck(chats, length - 1).fits_for_sure(turn, num_video_tokens=9)
    ample = next(
        most for most in range(length, 4000) if LengthCheck(chats, most).fits_for_sure(turn, num_video_tokens=9)
    )
    assert LengthCheck(chats, ample).too_long(chat, num_video_tokens=9) is None
    reason = LengthCheck(chats, length - 1).too_long(chat, num_video_tokens=9)
    assert reason is not None
    assert f"make {length} tokens, more than mllm.context_length={length - 1}" in reason
