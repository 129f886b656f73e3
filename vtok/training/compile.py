"""torch.compile for the repeated blocks of a model, which take most of its time."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from vtok.common.errors import UserError
from vtok.common.pretrained import first_line
from vtok.model import VideoLanguageModel


def compile_blocks(model: VideoLanguageModel) -> None:
    """Compile, in place, the blocks of the language model, of the backbone and of the decoder's transformer.

    A backbone without repeated blocks is compiled as one module. Names, weights and checkpoints do not change. The code
    between blocks depends on the data (positions of video tokens and answers) and is not compiled. Lengths are dynamic,
    so a batch of another length is not compiled again.
    """
    for block in blocks(model):
        block.compile(dynamic=True)


def blocks(model: VideoLanguageModel) -> list[nn.Module]:
    """The modules that `compile_blocks` compiles."""
    backbone = layers(model.tokeniser.backbone) or [model.tokeniser.backbone]
    return [*backbone, *layers(model.mllm), *(layers(model.decoder) if model.decodes else [])]


def layers(part: nn.Module) -> list[nn.Module]:
    """The blocks that repeat, as transformers and diffusers mark them."""
    repeated = {
        name
        for one in part.modules()
        # The name in diffusers' models.
        for name in getattr(one, "_repeated_blocks", None) or ()
    }
    return [
        one for one in part.modules() if isinstance(one, GradientCheckpointingLayer) or type(one).__name__ in repeated
    ]


def check_compiler(device: torch.device) -> None:
    """Compile a small function: torch.compile needs a C++ compiler on a CPU, and Triton and a C compiler on CUDA.

    Raises:
        UserError: torch.compile does not work on this machine.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        torch.compile(torch.nn.functional.silu)(torch.zeros(2, device=device))
    except (TorchDynamoException, RuntimeError, ImportError, OSError) as error:
        reason = first_line(getattr(error, "inner_exception", error))
        needed = "g++ (the package g++ of the system, or CXX=PATH)" if device.type == "cpu" else "Triton and gcc"
        raise UserError(
            f"trainer.compile=true: torch.compile does not work here ({reason}). It needs {needed}. "
            "Install it, or set trainer.compile=false."
        ) from error


def eager(compiled: bool) -> AbstractContextManager[object]:
    """A context in which compiled code runs in eager mode, if `compiled`."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
