"""Checks of settings that must fit each other, within a component and between components."""

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.config.declaration import declaration_of
from vtok.config.nodes import constant_of, data_nodes, feature_shape, planner_of, token_dim
from vtok.config.values import value_text
from vtok.data.clip import VALIDATION

# Tokens that the context must hold beside those of a clip.
TEXT_TOKENS = 32
HALF_PRECISION = ("bfloat16", "float16")


def check_trainer(config: DictConfig) -> None:
    """Check the trainer's settings against the optimiser and trainer/parallel."""
    best_by = OmegaConf.select(config, "trainer.best_by")
    for key in ("trainer.best_by", "optimise"):
        metric = OmegaConf.select(config, key)
        if metric and not metric.startswith(VALIDATION):
            raise UserError(
                f"{key}={metric}: test clips must not decide, and this is not a metric of validation clips. "
                f"Use {key}={VALIDATION}{metric}."
            )
    if best_by and not OmegaConf.select(config, "trainer.evaluate_every"):
        raise UserError(
            f"trainer.best_by={best_by}: the best checkpoint is chosen by evaluations during training. "
            "Set trainer.evaluate_every=N."
        )
    if constant_of(OmegaConf.select(config, "trainer.parallel"), "sharded"):
        for key, refused, instead in (
            ("trainer.compile", OmegaConf.select(config, "trainer.compile"), "trainer.compile=false"),
            ("optimiser", not constant_of(config.optimiser, "shardable", True), "optimiser=adamw"),
        ):
            if refused:
                raise UserError(
                    f"trainer/parallel=fsdp2: it does not work with this {key}. Use {instead}, or trainer/parallel=ddp."
                )
    momentum = OmegaConf.select(config, "optimiser.momentum")
    if OmegaConf.select(config, "optimiser.nesterov") and momentum == 0:
        raise UserError(
            f"optimiser.momentum={momentum}: Nesterov momentum must be > 0. Use optimiser.nesterov=false for no "
            "momentum."
        )


def check_clip(config: DictConfig) -> None:
    """Every data set must read clips as the group `clip` says: the frame plan depends on it."""
    for path, node in data_nodes(config):
        if isinstance(node, DictConfig) and "clip" in node and node.clip != config.clip:
            raise UserError(
                f"{path}.clip={value_text(node.clip)}: all data sets of a run share the settings clip.*. "
                "Set clip.KEY=VALUE instead."
            )


def check_objective(config: DictConfig) -> None:
    """A loss with a weight needs the component that it trains, and tokens that it can use."""
    weights = {name: OmegaConf.select(config, f"objective.lambda_{name}") or 0 for name in ("under", "visLM", "dec")}
    if "lambda_under" in config.objective and not any(weights.values()):
        raise UserError(
            "objective: lambda_under, lambda_visLM and lambda_dec are all 0, and nothing would be trained. "
            "Set one of them above 0."
        )
    for loss, group in (("visLM", "visual_head"), ("dec", "decoder")):
        if weights[loss] and constant_of(config[group], "is_absent", False):
            raise UserError(
                f"{group}=none: objective.lambda_{loss}={weights[loss]:g} trains it. Use another {group} (vtok train "
                f"--help lists them), or objective.lambda_{loss}=0."
            )
        if weights[loss]:
            way_out = "Use objective=understanding, or another tokeniser."
            check_unasked(config, override=f"objective.lambda_{loss}={weights[loss]:g}", instead=way_out)


def check_decoder(config: DictConfig) -> None:
    """Check the decoder's frames, guidance and text length against the clip and its tokens."""
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    decoder = config.decoder
    if decoder.get("offload") and not decoder.get("frozen"):
        raise UserError(
            "decoder.offload=true: only frozen modules can be offloaded to the CPU. Use decoder.frozen=true or "
            "decoder.offload=false."
        )
    if constant_of(decoder, "needs_distinct_frames", False) and decoder.num_frames > config.clip.num_frames:
        raise UserError(
            f"decoder.num_frames={decoder.num_frames}: a clip has clip.num_frames={config.clip.num_frames} frames. Use "
            f"decoder.num_frames={(config.clip.num_frames - 1) // 4 * 4 + 1} or less, or more clip.num_frames."
        )
    guidance, least = OmegaConf.select(config, "generation.guidance"), constant_of(decoder, "least_guidance", 0.0)
    if guidance is not None and guidance < least:
        raise UserError(
            f"generation.guidance={guidance:g}: must be {least:g} or more with this decoder. Use 1 for no guidance."
        )
    text_length = decoder.get("text_length")
    if text_length is not None and (planner := planner_of(config)) is not None:
        tokens = planner.num_tokens(planner.max_frames(int(config.clip.num_frames)))
        if tokens > text_length:
            raise UserError(f"decoder.text_length={text_length}: a clip makes {tokens} tokens. Use {tokens} or more.")


def check_precision(config: DictConfig) -> None:
    """Trained weights must be float32: in 16 bits an optimiser's small steps are rounded away."""
    for group, others in (
        ("backbone", "backbone.frozen=true"),
        ("mllm", "mllm.frozen=true, or 'mllm.lora={rank:16}', whose adapters are float32"),
        ("decoder", "decoder.frozen=true"),
    ):
        part = config[group]
        # A decoder without a loss is not trained.
        trained = part.get("frozen") is False and not (group == "decoder" and not config.objective.get("lambda_dec"))
        if trained and part.get("lora") is None and part.get("dtype") in HALF_PRECISION:
            raise UserError(
                f"{group}.dtype={part.dtype}: trained weights lose most updates in 16 bits. Use "
                f"{group}.dtype=float32, with trainer.precision=bf16 to compute in 16 bits, or {others}."
            )


def check_mllm(config: DictConfig) -> None:
    """A frozen language model cannot have trained adapters."""
    if OmegaConf.select(config, "mllm.frozen") and OmegaConf.select(config, "mllm.lora") is not None:
        raise UserError("mllm.frozen=true: mllm.lora trains adapters. Use mllm.frozen=false or mllm.lora=null.")


def check_projector(config: DictConfig) -> None:
    """Check the published projector that initialises phi_vis against the backbone's features."""
    mllm = config.mllm
    known = (constant_of(mllm, "published_projectors") or {}) if mllm.get("projector") else {}
    published = known.get(mllm.get("weights"))
    if published is None:
        return
    width, depth = published
    shape, tokens = feature_shape(config), token_dim(config)
    if tokens is not None and width != tokens:
        raise UserError(
            f"mllm.projector=true: the projector of mllm.weights={mllm.weights} takes tokens of width {width}, and the "
            f"tokeniser makes tokens of width {tokens}. Use 'backbone=clip backbone.layer=-2', "
            f"tokeniser.token_dim={width} or mllm.projector=false."
        )
    if shape is not None and shape.depth is not None and depth != shape.depth:
        layer = config.backbone.layer + depth - shape.depth
        raise UserError(
            f"backbone.layer={config.backbone.layer}: the projector of mllm.weights={mllm.weights}, which initialises "
            f"phi_vis, was trained on layer {layer} of this backbone. Use backbone.layer={layer}, or "
            "mllm.projector=false."
        )


def check_logged_model(config: DictConfig) -> None:
    """A model that is logged to MLflow must be trained to answer questions."""
    if config.tracking.get("log_model"):
        check_answers(config, override="tracking.log_model=true")
    if (name := config.tracking.get("register_model")) is not None:
        check_answers(config, override=f"tracking.register_model={name}")


def check_answers(config: DictConfig, *, override: str) -> None:
    """Refuse to log a model that was not trained to answer questions.

    Args:
        config: the run's configuration.
        override: setting or argument that asked for the model, such as "tracking.log_model=true".

    Raises:
        UserError: if objective.lambda_under is 0.
    """
    if OmegaConf.select(config, "objective.lambda_under") == 0:
        raise UserError(
            f"{override}: an MLflow model answers questions about videos, and objective.lambda_under=0 does not train "
            "that. Set objective.lambda_under above 0, or use vtok export."
        )


def check_cache(config: DictConfig) -> None:
    """Check that the features of data.cache, if it is set, do not change during training."""
    if (cache := config.data.get("cache")) is not None:
        check_cacheable(config, override=f"data.cache={cache}")


def check_cacheable(config: DictConfig, *, override: str) -> None:
    """Refuse a feature cache if the features or the decoder's targets change during training.

    Args:
        config: the configuration.
        override: setting or argument that asked for the cache, such as "data.cache=FOLDER".

    Raises:
        UserError: if the backbone, tokeniser, augmentation or decoder does not allow a cache.
    """
    if OmegaConf.select(config, "backbone.frozen") is False:
        raise UserError(
            f"{override}: backbone.frozen=false trains the backbone, and its features change with every step. "
            "Use backbone.frozen=true, or no cache."
        )
    if constant_of(config.tokeniser, "needs_files", False):
        raise UserError(
            f"{override}: {config.tokeniser._target_} reads motion vectors from the files, and a cache holds feature "
            "maps. Use another tokeniser, or no cache."
        )
    if needs_pixels(config):
        raise UserError(
            f"{override}: {config.tokeniser._target_} keeps frames by the change of their pixels, and a cache holds "
            "feature maps. Use another tokeniser, or no cache."
        )
    for path, node in data_nodes(config):
        augmentation = node.get("augmentation")
        if augmentation is None:
            continue
        neutral = declaration_of(str(augmentation._target_)).defaults()
        for key, value in augmentation.items():
            # left_right, how a flip changes captions, has no effect without flips.
            if key in neutral and key != "left_right" and value != neutral[key]:
                place = "" if path == "data" else f"@{path}.augmentation"
                raise UserError(
                    f"{override}: {path}.augmentation.{key}={value_text(value)} changes a clip's frames in each epoch, "
                    f"and a cache holds one version. Use data/augmentation{place}=none, or no cache."
                )
    if OmegaConf.select(config, "objective.lambda_dec") and config.decoder.get("weights", "") is None:
        raise UserError(
            f"{override}: decoder.weights=null gives a different VAE for every seed, and a cache does not hold its "
            "latents. Use decoder.weights=PATH, objective.lambda_dec=0, or no cache."
        )


def needs_pixels(config: DictConfig) -> bool:
    """Whether the tokeniser keeps planned frames by the change of their pixels (`vtok.data.change`)."""
    planner = planner_of(config)
    return planner is not None and planner.plan(int(config.clip.num_frames)).change is not None


def check_judge(config: DictConfig) -> None:
    """Check the judge of generated videos against the clips and the model."""
    if not OmegaConf.select(config, "objective.lambda_dec"):
        return
    judge = OmegaConf.select(config, "generation.judge")
    if constant_of(judge, "synthetic_only", False):
        if not all(constant_of(node, "synthetic", False) for _, node in data_nodes(config)):
            raise UserError(
                "generation/judge=oracle: this judge can only read clips of data=shapes. "
                "Use generation/judge=own for other clips."
            )
        if OmegaConf.select(config, "decoder.num_frames") == 1:
            raise UserError(
                "decoder.num_frames=1: generation/judge=oracle measures motion, which takes 2 frames or more. "
                "Use decoder.num_frames=2, or generation/judge=own."
            )
        if config.clip.fps is not None:
            raise UserError(
                f"clip.fps={config.clip.fps:g}: generation/judge=oracle measures speed over the full clip. "
                "Use clip.fps=null, or generation/judge=own."
            )
    if constant_of(judge, "uses_the_model", False):
        others = "Use generation/judge=vlm, or generation/judge=oracle with data=shapes."
        if constant_of(config.tokeniser, "needs_files", False):
            raise UserError(
                f"generation/judge=own: this tokeniser ({config.tokeniser._target_}) only reads files, and a generated "
                f"video is not a file. {others}"
            )
        if OmegaConf.select(config, "objective.lambda_under") == 0:
            raise UserError(
                f"generation/judge=own: objective.lambda_under=0 trains no understanding branch to judge with. {others}"
            )


def check_plan(config: DictConfig) -> None:
    """Check the tokeniser's frame plan against the clip, and its tokens against the language model's context."""
    num_frames = int(config.clip.num_frames)
    stride = OmegaConf.select(config, "tokeniser.stride")
    longest = max(1, num_frames - 1)
    if stride is not None and stride > longest:
        raise UserError(
            f"tokeniser.stride={stride} is longer than the clip ({num_frames} frames). Use 1 to {longest}, or set "
            f"clip.num_frames={stride + 1} or more."
        )
    if (planner := planner_of(config)) is None:
        return
    planner.plan(num_frames)
    context = OmegaConf.select(config, "mllm.context_length")
    tokens = max(one.num_tokens(one.max_frames(num_frames)) for one in (planner, planner.for_training()))
    if context is not None and tokens + TEXT_TOKENS > context:
        raise UserError(
            f"mllm.context_length={context}: a clip makes {tokens} tokens and text needs {TEXT_TOKENS} more. "
            f"Use mllm.context_length={tokens + TEXT_TOKENS} or more, "
            "a larger tokeniser.stride or a smaller tokeniser.grid_size."
        )


def check_unasked(config: DictConfig, *, override: str, instead: str) -> None:
    """Refuse a tokeniser that reads the question where there is none.

    Args:
        config: the configuration.
        override: setting or argument that asks for tokens without a question, such as "objective.lambda_dec=1".
        instead: what to set instead, as a sentence.

    Raises:
        UserError: if the tokens depend on a question.
    """
    if constant_of(config.tokeniser, "reads_question", False):
        raise UserError(
            f"{override}: the tokens of {config.tokeniser._target_} depend on a question, and here there is none. "
            f"{instead}"
        )
