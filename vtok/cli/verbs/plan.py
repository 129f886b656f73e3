"""vtok plan: the parameters of a configuration and the memory that training them takes, before anything is loaded."""

import logging
from dataclasses import dataclass, field

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from vtok.cli.verbs.validate import frame_rows
from vtok.common.errors import UserError
from vtok.common.nested import nodes
from vtok.common.paths import user_path
from vtok.common.quiet import quiet
from vtok.common.tables import named_values, table
from vtok.config import check, compose
from vtok.config.check import check_toys
from vtok.decoder.latent import LatentDecoder
from vtok.model import VideoLanguageModel
from vtok.model.build import build_model, parameter_groups
from vtok.model.memory import Memory, gigabytes, memory, shares

# Of the configuration; the tokeniser comes with its backbone, phi_vis with the two that it lies between.
COMPONENTS = ("backbone", "tokeniser", "mllm", "visual_head", "decoder")
# Adam's two float32 moments, for an optimiser that does not say what it keeps.
USUAL_BYTES = 8


@dataclass
class Part:
    """A part of the model: parameters trained and frozen, their precisions, and what they take."""

    name: str
    trained: int = 0
    frozen: int = 0
    dtypes: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)


def plan(overrides: list[str]) -> None:
    """Parameters and memory of a configuration, by part and by number of GPUs; nothing is loaded.

    Takes train's overrides. Everything is counted on the architecture alone, built on the meta device.

    Raises:
        UserError: the configuration cannot run.
    """
    config = compose(overrides)
    model, notes = skeleton(config)
    parts, more = count(config, model)
    blocks = [named_values(frame_rows(config)), parts_table(parts), gpu_table(parts), "\n".join([*notes, *more])]
    print(*filter(None, blocks), sep="\n\n")


def skeleton(config: DictConfig) -> tuple[VideoLanguageModel, list[str]]:
    """The model of a configuration without its numbers, and which weights were not looked at.

    Weights are not read: of a local folder its config.json or model_index.json says the architecture, where the
    component can do with it alone; otherwise the component's own with `weights: null` is counted.

    Raises:
        UserError: the configuration cannot run.
    """
    check_toys(config)
    given = {
        f"{path}.weights": str(node["weights"])
        for path, node in nodes(config)
        if path.split(".")[0] in COMPONENTS and node.get("weights") is not None
    }
    folders = {
        key
        for key, value in given.items()
        if any((user_path(value) / name).is_file() for name in ("config.json", "model_index.json"))
    }
    for key in given.keys() - folders:
        OmegaConf.update(config, key, None)
    try:
        model = shapes(config)
    except UserError:
        if not folders:
            raise
        for key in folders:
            OmegaConf.update(config, key, None)
        folders = set()
        model = shapes(config)
    notes = [
        f"{key}={value}: the architecture is that of the folder; no weights were read."
        if key in folders
        else f"{key}={value}: not looked up; counted is the architecture of {key}=null."
        for key, value in given.items()
    ]
    return model, notes


def shapes(config: DictConfig) -> VideoLanguageModel:
    """Built without memory, initialisation or download.

    Raises:
        UserError: the configuration cannot run.
    """
    check(config, files=False)
    # Without the warnings of random weights: there are no weights at all.
    with quiet("vtok", level=logging.ERROR), torch.device("meta"):
        return build_model(config)


def count(config: DictConfig, model: VideoLanguageModel) -> tuple[list[Part], list[str]]:
    """The parts of a model with their parameters and what these take, and what is to be said of it."""
    state_bytes = getattr(get_object(str(config.optimiser._target_)), "state_bytes", None)
    notes = (
        [] if state_bytes else [f"optimiser={config.optimiser._target_}: counted as Adam's two moments a parameter."]
    )
    hidden = {id(one) for group in parameter_groups(model) if group.get("hidden") for one in group["params"]}
    average = config.trainer.ema_decay is not None
    parts: dict[str, Part] = {name: Part(name) for name in (*COMPONENTS[:2], "phi_vis", *COMPONENTS[2:])}
    for name, parameter in model.named_parameters():
        part = parts[part_of(name)]
        part.dtypes.add(str(parameter.dtype).removeprefix("torch."))
        number, kept = parameter.numel(), None
        if parameter.requires_grad:
            part.trained += number
            usual = USUAL_BYTES * number
            kept = (
                state_bytes(parameter.shape, hidden=id(parameter) in hidden, settings=config.optimiser)
                if state_bytes
                else usual
            )
        else:
            part.frozen += number
        part.memory += memory(number, size=parameter.element_size(), kept=kept, average=average)
    for name, buffer in model.named_buffers():
        parts[part_of(name)].memory += Memory(frozen=buffer.numel() * buffer.element_size())
    decoder = model.decoder
    if isinstance(decoder, LatentDecoder) and decoder.offload:
        away = [tensor for part in decoder.frozen_modules for tensor in (*part.parameters(), *part.buffers())]
        there = gigabytes(sum(tensor.numel() * tensor.element_size() for tensor in away))
        notes.append(f"decoder.offload=true: {there} GB of the decoder's are on the GPU only while they are used.")
    return list(parts.values()), notes


def part_of(name: str) -> str:
    """The part that a parameter of this name belongs to."""
    if name.startswith("tokeniser.backbone."):
        return "backbone"
    first = name.partition(".")[0]
    return "phi_vis" if first == "projector" else first


def parts_table(parts: list[Part]) -> str:
    """Parameters and GB by part."""
    shown = [part for part in parts if part.trained + part.frozen]
    total = Part(
        "total",
        trained=sum(part.trained for part in parts),
        frozen=sum(part.frozen for part in parts),
        memory=sum((part.memory for part in parts), Memory()),
    )
    head = ("", "trained", "frozen", "precision", "frozen GB", "weights", "gradients", "optimiser", "EMA", "total GB")
    return table([head, *map(row, [*shown, total])])


def row(part: Part) -> list[str]:
    taken = part.memory
    kinds = (taken.frozen, taken.weights, taken.gradients, taken.optimiser, taken.average, taken.total)
    numbers = (f"{part.trained:,}", f"{part.frozen:,}", "+".join(sorted(part.dtypes)))
    return [part.name, *numbers, *map(gigabytes, kinds)]


def gpu_table(parts: list[Part]) -> str:
    """GB on each GPU by their number."""
    whole = sum((part.memory for part in parts), Memory())
    rows = [["GB on each GPU", "DDP", "FSDP2, frozen parts whole", "FSDP2, all sharded"]]
    for share in shares(whole):
        sizes = (share.replicated, share.trained_sharded, share.sharded)
        rows.append([f"{share.gpus} GPU{'s' if share.gpus > 1 else ''}", *map(gigabytes, sizes)])
    return (
        f"{table(rows)}\n"
        "1 GB is 10^9 bytes. Before activations, which grow with loader.batch_size and the tokens, and before the "
        "libraries' own buffers; FSDP2 gathers a layer at a time on top."
    )
