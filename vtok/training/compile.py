"""torch.compile of the parts of a model that take its time: the blocks that repeat, each kind of them once."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from vtok.common.errors import UserError
from vtok.common.pretrained import first_line
from vtok.model import VideoLanguageModel


def compile_blocks(model: VideoLanguageModel) -> None:
    """Compile, in place, the blocks of the language model, of the backbone and of the decoder's transformer.

    A backbone without blocks is compiled whole. Names, weights and what is saved stay as they are. What lies between
    blocks goes by the data (where video tokens belong, which positions are answers) and is left to Python. Lengths are
    symbols, so that a batch of another length needs no other code.
    """
    for block in blocks(model):
        block.compile(dynamic=True)


def blocks(model: VideoLanguageModel) -> list[nn.Module]:
    """What `compile_blocks` compiles."""
    backbone = layers(model.tokeniser.backbone) or [model.tokeniser.backbone]
    return [*backbone, *layers(model.mllm), *(layers(model.decoder) if model.decodes else [])]


def layers(part: nn.Module) -> list[nn.Module]:
    """The blocks that repeat, as transformers and diffusers mark them."""
    repeated = {
        name
        for one in part.modules()
        # Of diffusers' models.
        for name in getattr(one, "_repeated_blocks", None) or ()
    }
    return [
        one for one in part.modules() if isinstance(one, GradientCheckpointingLayer) or type(one).__name__ in repeated
    ]


def check_compiler(device: torch.device) -> None:
    """Compile something small, as torch.compile needs a compiler for C++ on a CPU, and Triton and one for C on CUDA.

    Raises:
        UserError: it does not work here.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        torch.compile(torch.nn.functional.silu)(torch.zeros(2, device=device))
    except (TorchDynamoException, RuntimeError, ImportError, OSError) as error:
        reason = first_line(getattr(error, "inner_exception", error))
        needed = "g++ (the package g++ of the system, or CXX=PATH)" if device.type == "cpu" else "Triton and gcc"
        raise UserError(
            f"trainer.compile=true: torch.compile does not work here ({reason}); it needs {needed}; "
            "install that, or say trainer.compile=false."
        ) from error


def eager(compiled: bool) -> AbstractContextManager[object]:
    """A context in which what is `compiled` runs as it was written; of no effect where nothing is."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
