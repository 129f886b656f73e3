"""vtok plan: parameters and training memory of a configuration, before anything is loaded."""

from dataclasses import dataclass, field

from hydra.utils import get_object
from omegaconf import DictConfig

from vtok.cli.verbs.validate import frame_rows
from vtok.common.tables import named_values, table
from vtok.config import compose
from vtok.config.compose import asked_budget
from vtok.decoder.latent import LatentDecoder
from vtok.model import VideoLanguageModel
from vtok.model.build import parameter_groups
from vtok.model.memory import Memory, gigabytes, memory_per_gpu, parameter_memory
from vtok.model.without_weights import COMPONENTS, model_without_weights

# Bytes of Adam's two float32 moments, assumed for an optimiser that does not state its own.
ADAM_BYTES = 8


@dataclass
class ComponentSize:
    """The size of a component.

    Attributes:
        name: name of the component.
        trained: number of trained parameters.
        frozen: number of frozen parameters.
        dtypes: number formats of the parameters.
        memory: bytes of memory that they take in training.
    """

    name: str
    trained: int = 0
    frozen: int = 0
    dtypes: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)


def plan(overrides: list[str]) -> None:
    """Show parameters and memory of a configuration, by component and by number of GPUs; nothing is loaded.

    Takes train's overrides. Everything is computed from the architecture, built on the meta device.

    Raises:
        UserError: if the configuration cannot run.
    """
    config = compose(overrides)
    model, notes = model_without_weights(config)
    sizes, more = measure_components(config, model)
    frames = named_values(frame_rows(config, asked_budget(overrides)))
    blocks = [frames, component_table(sizes), gpu_table(sizes), "\n".join([*notes, *more])]
    print(*filter(None, blocks), sep="\n\n")


def measure_components(config: DictConfig, model: VideoLanguageModel) -> tuple[list[ComponentSize], list[str]]:
    """The size of each component of a model, and notes on how it was computed."""
    state_bytes = getattr(get_object(str(config.optimiser._target_)), "state_bytes", None)
    notes = (
        []
        if state_bytes
        else [f"optimiser={config.optimiser._target_}: its state is assumed to be Adam's, two moments a parameter."]
    )
    hidden = {id(one) for group in parameter_groups(model) if group.get("hidden") for one in group["params"]}
    average = config.trainer.ema_decay is not None
    names = (*COMPONENTS[:2], "phi_vis", *COMPONENTS[2:])
    sizes: dict[str, ComponentSize] = {name: ComponentSize(name) for name in names}
    for name, parameter in model.named_parameters():
        size = sizes[component_of(name)]
        size.dtypes.add(str(parameter.dtype).removeprefix("torch."))
        number, kept = parameter.numel(), None
        if parameter.requires_grad:
            size.trained += number
            kept = (
                state_bytes(parameter.shape, hidden=id(parameter) in hidden, settings=config.optimiser)
                if state_bytes
                else ADAM_BYTES * number
            )
        else:
            size.frozen += number
        size.memory += parameter_memory(number, size=parameter.element_size(), optimiser=kept, average=average)
    for name, buffer in model.named_buffers():
        sizes[component_of(name)].memory += Memory(frozen=buffer.numel() * buffer.element_size())
    decoder = model.decoder
    if isinstance(decoder, LatentDecoder) and decoder.offload:
        offloaded = [tensor for part in decoder.frozen_modules for tensor in (*part.parameters(), *part.buffers())]
        size_gb = gigabytes(sum(tensor.numel() * tensor.element_size() for tensor in offloaded))
        notes.append(f"decoder.offload=true: {size_gb} GB of the decoder are on the GPU only while they are used.")
    return list(sizes.values()), notes


def component_of(name: str) -> str:
    """The component with a parameter or buffer of this name; a scale is that of what reads or predicts the tokens."""
    if name.startswith("tokeniser.backbone."):
        return "backbone"
    first = name.partition(".")[0]
    if first == "target_scale":
        return "visual_head"
    return "phi_vis" if first in ("projector", "places", "input_scale") else first


def component_table(sizes: list[ComponentSize]) -> str:
    """A row of parameters and GB for each component."""
    shown = [size for size in sizes if size.trained + size.frozen]
    total = ComponentSize(
        "total",
        trained=sum(size.trained for size in sizes),
        frozen=sum(size.frozen for size in sizes),
        memory=sum((size.memory for size in sizes), Memory()),
    )
    head = ("", "trained", "frozen", "precision", "frozen GB", "weights", "gradients", "optimiser", "EMA", "total GB")
    return table([head, *map(size_row, [*shown, total])])


def size_row(size: ComponentSize) -> list[str]:
    taken = size.memory
    kinds = (taken.frozen, taken.weights, taken.gradients, taken.optimiser, taken.average, taken.total)
    numbers = (f"{size.trained:,}", f"{size.frozen:,}", "+".join(sorted(size.dtypes)))
    return [size.name, *numbers, *map(gigabytes, kinds)]


def gpu_table(sizes: list[ComponentSize]) -> str:
    """A row of GB on each GPU for each number of GPUs."""
    total = sum((size.memory for size in sizes), Memory())
    rows = [["GB on each GPU", "DDP", "FSDP2, frozen not sharded", "FSDP2, all sharded"]]
    for share in memory_per_gpu(total):
        kinds = (share.replicated, share.trained_sharded, share.sharded)
        rows.append([f"{share.gpus} GPU{'s' if share.gpus > 1 else ''}", *map(gigabytes, kinds)])
    return (
        f"{table(rows)}\n"
        "1 GB is 10^9 bytes. Activations, which grow with loader.batch_size and the tokens, and the libraries' buffers "
        "are not counted. FSDP2 also gathers one layer at a time."
    )
