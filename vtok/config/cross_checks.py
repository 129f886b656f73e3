"""Values that must fit each other, within a component and between components."""

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.declaration import declaration_of
from vtok.config.nodes import data_nodes, feature_shape, planner_of, token_dim, trait_of
from vtok.config.values import shown

ROOM_FOR_TEXT = 32
HALF = ("bfloat16", "float16")


def check_trainer(config: DictConfig) -> None:
    """What the loop does against the optimiser and the way in which processes share the model."""
    best_by = OmegaConf.select(config, "trainer.best_by")
    if best_by and not OmegaConf.select(config, "trainer.evaluate_every"):
        raise UserError(f"trainer.best_by={best_by}: evaluations choose the checkpoint. Set trainer.evaluate_every=N.")
    if trait_of(OmegaConf.select(config, "trainer.parallel"), "sharded"):
        for key, refused, instead in (
            ("trainer.compile", OmegaConf.select(config, "trainer.compile"), "trainer.compile=false"),
            ("optimiser", not trait_of(config.optimiser, "shardable", True), "optimiser=adamw"),
        ):
            if refused:
                raise UserError(
                    f"trainer/parallel=fsdp2: it does not work with this {key}. Use {instead}, or trainer/parallel=ddp."
                )
    momentum = OmegaConf.select(config, "optimiser.momentum")
    if OmegaConf.select(config, "optimiser.nesterov") and momentum == 0:
        raise UserError(
            f"optimiser.momentum={momentum}: Nesterov's momentum must be above 0. For none, use "
            f"optimiser.nesterov=false."
        )


def check_clip(config: DictConfig) -> None:
    """Every data set is read by the run's `clip`, from which the plan is made."""
    for path, node in data_nodes(config):
        if isinstance(node, DictConfig) and "clip" in node and node.clip != config.clip:
            raise UserError(
                f"{path}.clip={shown(node.clip)}: all clips of a run are read alike. Set clip.KEY=VALUE instead."
            )


def check_objective(config: DictConfig) -> None:
    """The losses that have a weight against the parts that they train."""
    weights = {name: OmegaConf.select(config, f"objective.lambda_{name}") or 0 for name in ("under", "visLM", "dec")}
    if "lambda_under" in config.objective and not any(weights.values()):
        raise UserError("objective: lambda_under, lambda_visLM and lambda_dec are all 0, so that nothing is learnt.")
    for loss, group in (("visLM", "visual_head"), ("dec", "decoder")):
        if weights[loss] and trait_of(config[group], "is_absent", False):
            raise UserError(
                f"{group}=none: objective.lambda_{loss}={weights[loss]:g} trains it. Use another {group} (vtok train "
                f"--help lists them), or objective.lambda_{loss}=0."
            )


def check_decoder(config: DictConfig) -> None:
    """The decoder's frames and guidance against the clip, and the tokens against its text."""
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    decoder = config.decoder
    if decoder.get("offload") and not decoder.get("frozen"):
        raise UserError(
            "decoder.offload=true: only what is frozen is moved to the CPU and back. Use decoder.frozen=true or "
            "decoder.offload=false."
        )
    if trait_of(decoder, "needs_distinct_frames", False) and decoder.num_frames > config.clip.num_frames:
        raise UserError(
            f"decoder.num_frames={decoder.num_frames}: a clip has clip.num_frames={config.clip.num_frames} frames. Use "
            f"decoder.num_frames={(config.clip.num_frames - 1) // 4 * 4 + 1} or less, or more clip.num_frames."
        )
    guidance, least = OmegaConf.select(config, "generation.guidance"), trait_of(decoder, "least_guidance", 0.0)
    if guidance is not None and guidance < least:
        raise UserError(
            f"generation.guidance={guidance:g}: this decoder takes {least:g} or more. Use 1 for no guidance."
        )
    room = decoder.get("text_length")
    if room is not None and (planner := planner_of(config)) is not None:
        tokens = planner.num_tokens(planner.max_frames(int(config.clip.num_frames)))
        if tokens > room:
            raise UserError(f"decoder.text_length={room}: a clip makes {tokens} tokens. Use {tokens} or more.")


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
                f"{group}.dtype={part.dtype}: weights that are trained lose most updates in 16 bits. Use "
                f"{group}.dtype=float32, with trainer.precision=bf16 to compute in 16 bits, or {others}."
            )


def check_mllm(config: DictConfig) -> None:
    """Which part of the language model is trained."""
    if OmegaConf.select(config, "mllm.frozen") and OmegaConf.select(config, "mllm.lora") is not None:
        raise UserError("mllm.frozen=true: mllm.lora trains adapters. Use mllm.frozen=false or mllm.lora=null.")


def check_projector(config: DictConfig) -> None:
    """The projector of published weights, with which phi_vis begins, against the features of the backbone."""
    mllm = config.mllm
    known = (trait_of(mllm, "published_projectors") or {}) if mllm.get("projector") else {}
    published = known.get(mllm.get("weights"))
    if published is None:
        return
    width, depth = published
    shape, tokens = feature_shape(config), token_dim(config)
    if tokens is not None and width != tokens:
        raise UserError(
            f"mllm.projector=true: the projector of mllm.weights={mllm.weights} takes tokens of {width} numbers and "
            f"the tokeniser's have {tokens}. Use 'backbone=clip backbone.layer=-2', tokeniser.token_dim={width} or "
            "mllm.projector=false."
        )
    if shape is not None and shape.depth is not None and depth != shape.depth:
        layer = config.backbone.layer + depth - shape.depth
        raise UserError(
            f"backbone.layer={config.backbone.layer}: the projector of mllm.weights={mllm.weights}, with which phi_vis "
            f"begins, was trained on layer {layer} of this backbone. Use backbone.layer={layer}, or "
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
            f"{said}: an MLflow model answers questions about videos, which objective.lambda_under=0 does not train. "
            "Give that a weight, or use vtok export."
        )


def check_cache(config: DictConfig) -> None:
    """What a feature cache is to stand for."""
    if (cache := config.data.get("cache")) is not None:
        check_cacheable(config, said=f"data.cache={cache}")


def check_cacheable(config: DictConfig, *, said: str) -> None:
    """Raise UserError where what is to be kept is trained; `said` is what the user wrote of a cache."""
    if OmegaConf.select(config, "backbone.frozen") is False:
        raise UserError(
            f"{said}: backbone.frozen=false trains the backbone, so that its features change with every step. Use "
            "backbone.frozen=true, or no cache."
        )
    if trait_of(pooling := OmegaConf.select(config, "tokeniser.motion_pooling"), "trained", False):
        raise UserError(
            f"{said}: {pooling._target_} of tokeniser/motion_pooling is trained on feature maps, which are not kept. "
            "Use tokeniser/motion_pooling=mean or grid, or no cache."
        )
    for path, node in data_nodes(config):
        augmentation = node.get("augmentation")
        if augmentation is None:
            continue
        neutral = declaration_of(str(augmentation._target_)).defaults()
        for key, value in augmentation.items():
            # What a flip does matters only where there are flips.
            if key in neutral and key != "left_right" and value != neutral[key]:
                place = "" if path == "data" else f"@{path}.augmentation"
                raise UserError(
                    f"{said}: {path}.augmentation.{key}={shown(value)} makes other frames of a clip each time, and a "
                    f"cache holds the features of one. Use data/augmentation{place}=none, or no cache."
                )
    if OmegaConf.select(config, "objective.lambda_dec") and config.decoder.get("weights", "") is None:
        raise UserError(
            f"{said}: decoder.weights=null makes another VAE for every seed, the latents of which are not kept. Use "
            "decoder.weights=PATH, objective.lambda_dec=0, or no cache."
        )


def check_judge(config: DictConfig) -> None:
    """The judge of generated videos against the clips and the model that it is to judge."""
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    judge = OmegaConf.select(config, "generation.judge")
    if trait_of(judge, "synthetic_only", False):
        if not all(trait_of(node, "synthetic", False) for _, node in data_nodes(config)):
            raise UserError(
                "generation/judge=oracle: it reads the pixels of data=shapes alone. "
                "Use generation/judge=own for other clips."
            )
        if OmegaConf.select(config, "decoder.num_frames") == 1:
            raise UserError(
                "decoder.num_frames=1: generation/judge=oracle reads moves, for which it takes 2 frames or more. "
                "Use decoder.num_frames=2, or generation/judge=own."
            )
        if config.clip.fps is not None:
            raise UserError(
                f"clip.fps={config.clip.fps:g}: generation/judge=oracle reads speeds off whole clips. "
                "Use clip.fps=null, or generation/judge=own."
            )
    if trait_of(judge, "uses_the_model", False):
        others = "Use generation/judge=vlm, or generation/judge=oracle with data=shapes."
        if trait_of(config.tokeniser, "needs_files", False):
            raise UserError(
                f"generation/judge=own: this tokeniser ({config.tokeniser._target_}) reads files, which a generated "
                f"video is not. {others}"
            )
        if OmegaConf.select(config, "objective.lambda_under") == 0:
            raise UserError(
                "generation/judge=own: objective.lambda_under=0 trains no understanding branch that could judge. "
                f"{others}"
            )


def check_plan(config: DictConfig) -> None:
    """The tokeniser's frame plan against the clip, and its tokens against the language model's context."""
    num_frames = int(config.clip.num_frames)
    stride = OmegaConf.select(config, "tokeniser.stride")
    longest = max(1, num_frames - 1)
    if stride is not None and stride > longest:
        raise UserError(
            f"tokeniser.stride={stride}: a clip has clip.num_frames={num_frames} frames. Use 1 to {longest}, or "
            f"clip.num_frames={stride + 1} or more."
        )
    if (planner := planner_of(config)) is None:
        return
    planner.plan(num_frames)
    context = OmegaConf.select(config, "mllm.context_length")
    tokens = planner.num_tokens(planner.max_frames(num_frames))
    if context is not None and tokens + ROOM_FOR_TEXT > context:
        raise UserError(
            f"mllm.context_length={context}: a clip makes {tokens} tokens and text needs {ROOM_FOR_TEXT} more. "
            f"Use mllm.context_length={tokens + ROOM_FOR_TEXT} or more, "
            "a larger tokeniser.stride or a smaller tokeniser.grid_size."
        )
