"""The precision of the computations on a GPU."""

import torch

from vtok.common.errors import UserError


def mixed_precision(asked: str, *, on_cpu: bool) -> str:
    """Accelerate's name of a precision: `auto`, `bf16` or `fp32`.

    `auto` is bf16 if the GPU supports it. Older GPUs emulate bf16, which is slower than float32.

    Raises:
        UserError: bf16 is set, and the GPU cannot even emulate it.
    """
    if asked == "bf16" and not (on_cpu or torch.cuda.is_bf16_supported()):
        raise UserError("trainer.precision=bf16: this GPU does not have bf16. Set trainer.precision=fp32.")
    native = not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if asked == "bf16" or (asked == "auto" and native) else "no"
