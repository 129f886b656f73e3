"""Which video tokens an answer used: each is left out once, and the change of the answer's log-likelihood is measured.

Leaving out (occlusion; Zeiler and Fergus 2014, section 4) needs nothing but the model's own score, so it is the same
for every tokeniser and language model. Two tokens that say the same can both have a change of 0.
"""

from dataclasses import dataclass

import torch

from vtok.common.errors import UserError
from vtok.common.finite import check_finite
from vtok.mllm.text_length import LengthCheck
from vtok.model.batch import stack_text
from vtok.model.video_language_model import VideoLanguageModel
from vtok.tokeniser import VideoTokens


@dataclass(frozen=True)
class Explanation:
    """An answer, and how much each video token contributed to it.

    Attributes:
        question: the question.
        answer: the answer.
        log_likelihood: log-likelihood of the answer and its end token, in nats.
        changes: for each of the L video tokens, in their order, the log-likelihood minus that without the token, in
            nats; positive: the token makes the answer likelier.
    """

    question: str
    answer: str
    log_likelihood: float
    changes: tuple[float, ...]


@torch.no_grad()
def explain_answer(
    model: VideoLanguageModel, video: VideoTokens, question: str, answer: str, *, sequences_at_once: int = 16
) -> Explanation:
    """Leave out each video token once.

    The token's place is taken out of the sequence, as if the tokeniser had not made it: a place that is only masked
    would still move the positions of the tokens after it.

    Args:
        model: a model in evaluation mode.
        video: the tokens of one clip (1, L, d); padding is not counted as tokens.
        question: the question.
        answer: the answer to explain; it may be any text.
        sequences_at_once: largest number of sequences in a forward pass of the language model, >= 1.

    Raises:
        UserError: the texts and the video are too long for the language model, or a log-likelihood is not finite.
        ValueError: more than one clip.
    """
    if len(video.mask) != 1:
        raise ValueError(f"an answer is explained for one clip, not {len(video.mask)}.")
    number = int(video.mask.sum())
    device = video.tokens.device
    everything = torch.arange(number, device=device)
    chat = model.mllm.chat.encode([(question, answer)], num_video_tokens=number)
    if reason := LengthCheck(model.mllm.chat, model.mllm.context_length).too_long(chat, num_video_tokens=number):
        raise UserError(f"prompt: {reason}.")
    video = model.condition(video, stack_text([chat], pad_id=model.mllm.chat.pad_id).to(device))
    true = _log_likelihoods(model, video, everything.unsqueeze(0), question, answer)
    without = [torch.zeros(0, dtype=torch.float64)]
    # others[i] is every place except i.
    kept = ~torch.eye(number, dtype=torch.bool, device=device)
    others = everything.expand(number, number)[kept].view(number, max(0, number - 1))
    for start in range(0, number, sequences_at_once):
        part = others[start : start + sequences_at_once]
        without.append(_log_likelihoods(model, video, part, question, answer))
    changes = true - torch.cat(without)
    check_finite(torch.cat([true, changes]), what="the language model's log-likelihoods of the answer")
    return Explanation(question, answer, float(true), tuple(changes.tolist()))


def _log_likelihoods(
    model: VideoLanguageModel, video: VideoTokens, places: torch.Tensor, question: str, answer: str
) -> torch.Tensor:
    """Log-likelihoods (N,) of an answer, float64 on the CPU, where only the tokens at `places` (N, n) are given."""
    chat = model.mllm.chat.encode([(question, answer)], num_video_tokens=places.shape[1])
    text = stack_text([chat] * len(places), pad_id=model.mllm.chat.pad_id).to(video.tokens.device)
    # `at` gives all rows the kinds of the first, which the language model does not read.
    return model.text_scores(video.at(places), text).logprobs.sum(1).double().cpu()
