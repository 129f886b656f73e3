"""Values that must fit each other, within a component and between components."""

from dataclasses import fields
from itertools import product

from omegaconf import DictConfig, OmegaConf

from vtok.config.nodes import data_nodes, described, feature_size, planner_of, token_dim
from vtok.config.schemas import Augmentation
from vtok.errors import UserError

ROOM_FOR_TEXT = 32
SIZE_MULTIPLE = 16
HALF = ("bfloat16", "float16")
# Of an augmentation that changes nothing: the schema's defaults. What a flip does matters only where there are flips.
UNCHANGED = {item.name: item.default for item in fields(Augmentation) if item.name not in ("_target_", "left_right")}


def check_pairs(config: DictConfig) -> None:
    """Numbers that must fit each other."""
    for part, words, factor in (
        ("mllm", ", twice", 2),
        ("tokeniser", ", twice", 2),
        ("tokeniser.motion_pooling", ":", 1),
    ):
        width, heads = (OmegaConf.select(config, f"{part}.{key}") for key in ("width", "heads"))
        if width and heads and width % (factor * heads):
            raise UserError(
                f"{part}.width={width}: allowed are multiples of {factor * heads}{words} {part}.heads={heads}."
            )
    size, patch = OmegaConf.select(config, "decoder.size"), OmegaConf.select(config, "decoder.patch")
    if size and patch and size % patch:
        raise UserError(f"decoder.size={size}: allowed are multiples of decoder.patch={patch}.")
    head_dim = OmegaConf.select(config, "decoder.head_dim")
    if head_dim is not None and (head_dim < 6 or head_dim % 6):
        raise UserError(f"decoder.head_dim={head_dim}: allowed are multiples of 6: time, height and width share it.")
    best_by = OmegaConf.select(config, "trainer.best_by")
    if best_by and not OmegaConf.select(config, "trainer.evaluate_every"):
        raise UserError(
            f"trainer.best_by={best_by}: checkpoints are judged by evaluations; say trainer.evaluate_every=N."
        )
    if str(OmegaConf.select(config, "trainer.parallel._target_")).endswith(".Fsdp2"):
        for key, refused, instead in (
            ("trainer.compile", OmegaConf.select(config, "trainer.compile"), "trainer.compile=false"),
            ("optimiser", str(config.optimiser.get("_target_")).endswith(".AdamW8bit"), "optimiser=adamw"),
        ):
            if refused:
                raise UserError(
                    f"trainer/parallel=fsdp2: it has not been tried with this {key}; say {instead} or "
                    "trainer/parallel=ddp."
                )
    momentum = OmegaConf.select(config, "optimiser.momentum")
    if OmegaConf.select(config, "optimiser.nesterov") and momentum == 0:
        raise UserError(
            f"optimiser.momentum={momentum}: Nesterov's momentum is above 0; for none say optimiser.nesterov=false."
        )


def check_objective(config: DictConfig) -> None:
    """The losses that have a weight against the parts that they train."""
    weights = {name: OmegaConf.select(config, f"objective.lambda_{name}") or 0 for name in ("under", "visLM", "dec")}
    if "lambda_under" in config.objective and not any(weights.values()):
        raise UserError("objective: lambda_under, lambda_visLM and lambda_dec are all 0, so that nothing is learnt.")
    for loss, group, kinds in (
        ("visLM", "visual_head", "flow, mixture or regression"),
        ("dec", "decoder", "tiny, hunyuan_video or wan"),
    ):
        if weights[loss] and str(config[group].get("_target_", "")).endswith((".NoVisualHead", ".NoDecoder")):
            raise UserError(
                f"{group}=none: objective.lambda_{loss}={weights[loss]:g} trains it, so that allowed are {kinds}; "
                f"or say objective.lambda_{loss}=0."
            )


def check_latent_decoder(config: DictConfig) -> None:
    """A pretrained video decoder's frames, size and text against what its kind takes, and against the clip."""
    decoder, target = config.decoder, str(config.decoder.get("_target_", ""))
    if not target.endswith((".HunyuanVideoDecoder", ".WanDecoder")):
        return
    # Of the published models; one that takes less says so when it is loaded.
    if decoder.size % SIZE_MULTIPLE:
        raise UserError(f"decoder.size={decoder.size}: allowed are multiples of {SIZE_MULTIPLE} pixels.")
    if decoder.num_frames % 4 != 1:
        raise UserError(
            f"decoder.num_frames={decoder.num_frames}: allowed is 4k + 1, such as {decoder.num_frames // 4 * 4 + 1}."
        )
    if decoder.get("stock_text") is not None and decoder.mode != "append":
        raise UserError(f"decoder.stock_text={decoder.stock_text}: it is of decoder.mode=append; say that, or null.")
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    if decoder.offload and not decoder.frozen:
        raise UserError(
            "decoder.offload=true: only what is frozen is moved to the CPU and back; say decoder.frozen=true or "
            "decoder.offload=false."
        )
    # A clip's frames that came more than once would teach a video model that the world stands still.
    if decoder.num_frames > config.data.num_frames:
        raise UserError(
            f"decoder.num_frames={decoder.num_frames}: a clip has data.num_frames={config.data.num_frames} frames; say "
            f"decoder.num_frames={(config.data.num_frames - 1) // 4 * 4 + 1} or less, or more data.num_frames."
        )
    guidance = OmegaConf.select(config, "generation.guidance")
    if guidance is not None and guidance < 1:
        raise UserError(f"generation.guidance={guidance:g}: this decoder takes 1, which is none, or more.")
    planner, room = planner_of(config), decoder.get("text_length")
    if planner is not None and room is not None:
        tokens = planner.num_tokens(planner.max_frames(int(config.data.num_frames)))
        if tokens > room:
            raise UserError(f"decoder.text_length={room}: a clip makes {tokens} tokens; say {tokens} or more.")


def check_precision(config: DictConfig) -> None:
    """What is trained is float32: the small steps of an optimiser are rounded away in 16 bits."""
    for group, others in (
        ("backbone", "backbone.frozen=true"),
        ("mllm", "mllm.frozen=true, or 'mllm.lora={rank:16}' for adapters, which are float32 themselves"),
        ("decoder", "decoder.frozen=true"),
    ):
        part = config[group]
        # A decoder without a loss is not trained.
        trained = part.get("frozen") is False and not (group == "decoder" and not config.objective.get("lambda_dec"))
        if trained and part.get("lora") is None and part.get("dtype") in HALF:
            raise UserError(
                f"{group}.dtype={part.dtype}: weights that are trained lose most updates in 16 bits; say "
                f"{group}.dtype=float32, with trainer.precision=bf16 to compute in 16 bits, or {others}."
            )


def check_mllm(config: DictConfig) -> None:
    """What of the language model is trained, and its projector against the video tokens."""
    if OmegaConf.select(config, "mllm.frozen") and OmegaConf.select(config, "mllm.lora") is not None:
        raise UserError("mllm.frozen=true: mllm.lora trains adapters; say mllm.frozen=false or mllm.lora=null.")
    mllm, tokens = described(config.mllm), token_dim(config)
    width = mllm.projector_width() if hasattr(mllm, "projector_width") else None
    if width is not None and tokens is not None and width != tokens:
        raise UserError(
            f"mllm.projector=true: the projector of mllm.weights={mllm.weights} takes tokens of {width} numbers and "
            f"the tokeniser's have {tokens}; say 'backbone=clip backbone.layer=-2', tokeniser.token_dim={width} or "
            "mllm.projector=false."
        )
    backbone = described(config.backbone)
    trained = mllm.projector_depth() if hasattr(mllm, "projector_depth") else None
    depth = backbone.depth() if hasattr(backbone, "depth") else None
    if trained is not None and depth is not None and depth != trained:
        raise UserError(
            f"backbone.layer={backbone.layer}: the projector of mllm.weights={mllm.weights}, with which phi_vis "
            f"begins, was trained on layer {trained - 25} of this backbone. Set backbone.layer={trained - 25}, or "
            "mllm.projector=false."
        )


def check_logged_model(config: DictConfig) -> None:
    """What the model that is logged in the end is to do."""
    if config.tracking.get("log_model"):
        check_answers(config, said="tracking.log_model=true")
    if (name := config.tracking.get("register_model")) is not None:
        check_answers(config, said=f"tracking.register_model={name}")


def check_answers(config: DictConfig, *, said: str) -> None:
    """Raise UserError where a model that is to answer questions learns none; `said` is what the user wrote of it."""
    if OmegaConf.select(config, "objective.lambda_under") == 0:
        raise UserError(
            f"{said}: an MLflow model answers questions about videos, which objective.lambda_under=0 does not train; "
            "give that a weight, or take vtok export."
        )


def check_cache(config: DictConfig) -> None:
    """What a feature cache is to stand for."""
    if (cache := config.data.get("cache")) is not None:
        check_cacheable(config, said=f"data.cache={cache}")


def check_cacheable(config: DictConfig, *, said: str) -> None:
    """Raise UserError where what is to be kept is trained; `said` is what the user wrote of a cache."""
    if OmegaConf.select(config, "backbone.frozen") is False:
        raise UserError(
            f"{said}: backbone.frozen=false trains the backbone, so that its features change with every step; say "
            "backbone.frozen=true, or make do without a cache."
        )
    pooling = str(OmegaConf.select(config, "tokeniser.motion_pooling._target_"))
    for option, kind in (("attention", ".AttentionPooling"), ("transformer", ".TransformerPooling")):
        if pooling.endswith(kind):
            raise UserError(
                f"{said}: tokeniser/motion_pooling={option} is trained on feature maps, which are not kept; say "
                "tokeniser/motion_pooling=mean or grid, or make do without a cache."
            )
    for path, (key, neutral) in product([path for path, _ in data_nodes(config)], UNCHANGED.items()):
        if (value := OmegaConf.select(config, f"{path}.augmentation.{key}", default=neutral)) != neutral:
            place = "" if path == "data" else f"@{path}.augmentation"
            raise UserError(
                f"{said}: {path}.augmentation.{key}={value} makes other frames of a clip each time, and a cache holds "
                f"the features of one; say data/augmentation{place}=none, or make do without a cache."
            )
    if OmegaConf.select(config, "objective.lambda_dec") and config.decoder.get("weights", "") is None:
        raise UserError(
            f"{said}: decoder.weights=null makes another VAE for every seed, the latents of which are not kept; say "
            "decoder.weights=PATH, objective.lambda_dec=0, or make do without a cache."
        )


def check_judge(config: DictConfig) -> None:
    """The judge of made videos against the clips and the model that it is to judge."""
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    judge = str(OmegaConf.select(config, "generation.judge._target_"))
    kinds = [str(node.get("_target_", "")) for _, node in data_nodes(config)]
    if judge.endswith(".OracleJudge") and not all(kind.endswith(".ShapesData") for kind in kinds):
        raise UserError(
            "generation/judge=oracle: it reads the pixels of data=shapes alone; "
            "for other clips say generation/judge=own."
        )
    if judge.endswith(".OracleJudge"):
        if OmegaConf.select(config, "decoder.num_frames") == 1:
            raise UserError(
                "decoder.num_frames=1: generation/judge=oracle reads moves, for which it takes 2 frames or more; "
                "say decoder.num_frames=2, or generation/judge=own."
            )
        for path, node in data_nodes(config):
            if node.fps is not None:
                raise UserError(
                    f"{path}.fps={node.fps:g}: generation/judge=oracle reads speeds off whole clips; "
                    f"say {path}.fps=null, or generation/judge=own."
                )
    if judge.endswith(".OwnJudge") and str(config.tokeniser.get("_target_", "")).endswith(".CodecMotionTokeniser"):
        raise UserError(
            "generation/judge=own: tokeniser=codec_motion reads files, and a made video is none; "
            "say generation/judge=vlm, or generation/judge=oracle with data=shapes."
        )
    if judge.endswith(".OwnJudge") and OmegaConf.select(config, "objective.lambda_under") == 0:
        raise UserError(
            "generation/judge=own: objective.lambda_under=0 trains no understanding branch that could judge; "
            "say generation/judge=vlm, or generation/judge=oracle with data=shapes."
        )


def check_frames(config: DictConfig) -> None:
    """The stride and the key frame against the clip."""
    num_frames = int(config.data.num_frames)
    stride = OmegaConf.select(config, "tokeniser.stride")
    longest = max(1, num_frames - 1)
    if stride is not None and stride > longest:
        raise UserError(
            f"tokeniser.stride={stride}: a clip has data.num_frames={num_frames} frames, "
            f"so that allowed are 1 to {longest}."
        )
    if (planner := planner_of(config)) is not None:
        planner.plan(num_frames)


def check_grid(config: DictConfig) -> None:
    """The grids against the feature map."""
    side = feature_size(config)
    for key in ("tokeniser.grid_size", "tokeniser.fast_grid_size"):
        grid = OmegaConf.select(config, key)
        if side is not None and grid is not None and grid > side:
            raise UserError(
                f"{key}={grid}: the feature map of this backbone is {side} x {side}, so that allowed are 1 to {side}."
            )


def check_context(config: DictConfig) -> None:
    """The video's tokens against the language model's context."""
    planner, context = planner_of(config), OmegaConf.select(config, "mllm.context_length")
    if planner is None or context is None:
        return
    tokens = planner.num_tokens(planner.max_frames(int(config.data.num_frames)))
    if tokens + ROOM_FOR_TEXT > context:
        raise UserError(
            f"mllm.context_length={context}: a clip makes {tokens} tokens and text needs {ROOM_FOR_TEXT} more; "
            f"say mllm.context_length={tokens + ROOM_FOR_TEXT} or more, "
            "a larger tokeniser.stride or a smaller tokeniser.grid_size."
        )
