"""What is said to fit without encoding does fit, with templates of several kinds."""

import random

import pytest

from vtok.mllm import ChatTokeniser, Room
from vtok.mllm.tiny import byte_level_tokenizer


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_never_below_what_is_encoded(seed: int) -> None:
    draw = random.Random(seed)
    chat = ChatTokeniser(byte_level_tokenizer())
    words = ["zebra", "é", "视频", "🎬", " ", "<video>", "a"]
    turns = [
        ("".join(draw.choices(words, k=draw.randint(0, 30))), "".join(draw.choices(words, k=draw.randint(0, 30))))
        for _ in range(draw.randint(1, 5))
    ]
    length = len(chat.encode(turns, num_video_tokens=9).ids)
    assert not Room(chat, length - 1).is_ample(turns, num_video_tokens=9)
    ample = next(most for most in range(length, 4000) if Room(chat, most).is_ample(turns, num_video_tokens=9))
    assert Room(chat, ample).lack(chat.encode(turns, num_video_tokens=9), num_video_tokens=9) is None
    reason = Room(chat, length - 1).lack(chat.encode(turns, num_video_tokens=9), num_video_tokens=9)
    assert reason is not None
    assert f"make {length} tokens, more than mllm.context_length={length - 1}" in reason
