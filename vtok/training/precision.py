"""The precision that a GPU computes in."""

import torch

from vtok.common.errors import UserError


def mixed_precision(asked: str, *, on_cpu: bool) -> str:
    """What Accelerate calls the precision `asked` for, `auto`, `bf16` or `fp32`.

    `auto` is bf16 where the GPU computes in it. Older ones only emulate it, more slowly than they compute in float32.

    Raises:
        UserError: bf16 was asked for, and the GPU does not even emulate it.
    """
    if asked == "bf16" and not (on_cpu or torch.cuda.is_bf16_supported()):
        raise UserError("trainer.precision=bf16: this GPU does not have bf16. Set trainer.precision=fp32.")
    native = not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if asked == "bf16" or (asked == "auto" and native) else "no"
