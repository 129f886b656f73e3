"""What does not fit is told in one sentence: the key, the value, what is allowed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vtok.config import check, compose
from vtok.errors import UserError

MISTAKES = [
    (
        ["data=shards", "data.root=nowhere"],
        "data.root=nowhere: there is no index",
        "vtok data index root=nowhere;",
    ),
    (["data=shards", "data.root=s3://b", "data.shuffle_buffer=0"], "data.shuffle_buffer=0", "1 or more"),
    (["backbone=clop"], "backbone=clop", "clip, tiny, vgg19, vision"),
    (["backbon=clip"], "backbon", "Did you mean backbone?"),
    (["tokeniser.strid=3"], "tokeniser.strid", "Did you mean tokeniser.stride?"),
    (["+tokeniser.strid=3"], "tokeniser.strid", "Did you mean stride?"),
    (["+seeed=3"], "seeed", "Did you mean seed?"),
    (["+foo.bar=3"], "foo", "Allowed"),
    (["tokeniser.stride=abc"], "tokeniser.stride=abc", "a whole number"),
    (["tokeniser.stride=0"], "tokeniser.stride=0", "1 or more"),
    (["tokeniser.stride=40"], "tokeniser.stride=40", "1 to 29"),
    (["tokeniser.grid_size=9"], "tokeniser.grid_size=9", "1 to 8"),
    (["backbone=clip", "tokeniser.grid_size=25"], "tokeniser.grid_size=25", "1 to 24"),
    (["tokeniser=slow_fast", "tokeniser.fast_grid_size=9"], "tokeniser.fast_grid_size=9", "1 to 8"),
    (["tokeniser=slow_fast", "tokeniser.slow_frames=0"], "tokeniser.slow_frames=0", "1 or more"),
    (
        ["tokeniser/motion_pooling=transformer", "tokeniser.motion_pooling.width=10"],
        "tokeniser.motion_pooling.width=10",
        "multiples of 4: tokeniser.motion_pooling.heads=4",
    ),
    (["tokeniser=resampler", "tokeniser.width=12"], "tokeniser.width=12", "multiples of 8, twice tokeniser.heads=4"),
    (
        ["tokeniser/motion_pooling=transformer", "backbone.frozen=true", "data.cache=x"],
        "data.cache=x: tokeniser/motion_pooling=transformer",
        "mean or grid",
    ),
    (["tokeniser.key_frame=30"], "tokeniser.key_frame=30", "-30 to 29"),
    (["tokeniser.key_frame=frist"], "tokeniser.key_frame=frist", "first, middle, medoid, sharpest"),
    (["tokeniser=frame_sampling", "tokeniser.key_frame=1"], "tokeniser.key_frame", "tokeniser.stride"),
    (["tokeniser.motion_pooling=grid"], "tokeniser.motion_pooling=grid", "tokeniser/motion_pooling=OPTION"),
    (["tokeniser=key_frame", "tokeniser/motion_pooling=grid"], "tokeniser/motion_pooling", "takes no motion_pooling"),
    (["data=folder"], "data.root", "data.root=VALUE"),
    (["data=folder", "data.root=/nowhere"], "data.root=/nowhere", "no such folder"),
    (["data.level=medium"], "data.level=medium", "easy, hard"),
    (["data.families=[motion,cuont]"], "data.families=[motion,cuont]", "Did you mean count? Allowed: motion, order,"),
    (["data.families=[[motion],[order]]"], "data.families=[['motion'],['order']]", "say one or more choices"),
    (["data.families=[motion,{order:1}]"], "data.families=[motion,", "say one or more choices"),
    (["data.families=[]"], "data.families=[]", "motion, order, count, camera"),
    (["data.families=motion"], "data.families=motion", "a list in brackets"),
    (["mllm.context_length=40"], "mllm.context_length=40", "mllm.context_length=52"),
    (["mllm.width=97"], "mllm.width=97", "multiples of 8"),
    (["backbone._target_=os.system"], "backbone._target_=os.system", "an option of backbone"),
    (["backbone=vgg19", "backbone.weights=no.pth"], "backbone.weights=no.pth", "null for random weights"),
    (["backbone=vision", "backbone.dtype=fp16"], "backbone.dtype=fp16", "float16"),
    (["backbone=vision", "backbone.image_size=0"], "backbone.image_size=0", "1 or more"),
    (["backbone=vision", "backbone.image_size=null"], "backbone.image_size=null", "say data.size=VALUE beside it"),
    (["backbone=vision", "tokeniser.grid_size=17"], "tokeniser.grid_size=17", "1 to 16"),
    (["mllm=causal_lm", "mllm.weights=./no"], "mllm.weights=./no", "a local path or a hub id."),
    (["mllm=causal_lm", "mllm.weights=null"], "mllm.weights=null", "brings its tokenizer"),
    (["mllm=causal_lm", "mllm.dtype=fp8"], "mllm.dtype=fp8", "float32, float16, bfloat16"),
    (["mllm=causal_lm", "mllm.context_length=40"], "mllm.context_length=40", "mllm.context_length=52"),
    (["mllm=causal_lm", "mllm.lora=16"], "mllm.lora=16", "{rank:16,alpha:32}"),
    (["mllm=causal_lm", "mllm.lora={rnk:16}"], "mllm.lora.rnk", "Did you mean rank?"),
    (["mllm=causal_lm", "mllm.lora={rank:many}"], "mllm.lora.rank=many", "a whole number"),
    (["mllm=causal_lm", "mllm.lora={rank:0}"], "mllm.lora.rank=0", "1 or more"),
    (["mllm=causal_lm", "mllm.lora={dropout:1}"], "mllm.lora.dropout=1", "below 1"),
    (["mllm=causal_lm", "mllm.lora.rank=8"], "mllm.lora.rank: mllm.lora is null", "{rank:16,alpha:32}"),
    (["mllm=causal_lm", "mllm.lora={rank:8}", "mllm.frozen=true"], "mllm.frozen=true", "mllm.lora=null"),
    (["mllm=llava_next"], "mllm.projector=true", "backbone=clip, tokeniser.token_dim=1024 or mllm.projector=false"),
    (["sweep=nope"], "sweep=nope", "stride"),
    (["trainer.precision=fp8"], "trainer.precision=fp8", "auto, fp32, bf16"),
    (["tokeniser.key_frame=null"], "tokeniser.key_frame=None", "first, middle, medoid, sharpest or a frame index."),
    (["tokeniser.key_frame=[0,7]"], "tokeniser.key_frame=[0, 7]", "or a frame index."),
    (["mllm.heads=0"], "mllm.heads=0", "1 or more"),
    (["trainer.clip_norm=0"], "trainer.clip_norm=0.0", "above 0"),
    (["trainer.clip_norm=nan"], "trainer.clip_norm=nan", "above 0"),
    (["data.fps=0"], "data.fps=0.0", "above 0"),
    (["data.decode_timeout=0"], "data.decode_timeout=0.0", "above 0"),
    (["data=folder", "data.root=.", "data.frames_fps=-1"], "data.frames_fps=-1.0", "above 0"),
    (["data=folder", "data.root=.", "data.heldout_fraction=0"], "data.heldout_fraction=0.0", "above 0 and below 1"),
    (["data=folder", "data.root=.", "data.heldout_fraction=1"], "data.heldout_fraction=1.0", "above 0 and below 1"),
    (["optimiser=sgd", "optimiser.momentum=0"], "optimiser.momentum=0.0", "optimiser.nesterov=false"),
    (["backbone=vgg19", "backbone.layer=conv9_9"], "backbone.layer=conv9_9", "conv1_1, conv1_2, conv2_1"),
    (["scheduler.name=cosin"], "scheduler.name=cosin", "Did you mean cosine?"),
    (["scheduler.name=warmup_stable_decay"], "scheduler.name=warmup_stable_decay", "linear, cosine,"),
    (["tokeniser.stride=3,6"], "tokeniser.stride=3,6", "a list of values is a sweep; say -m to run one job for each."),
    (["tokeniser.stride=range(3,6)"], "tokeniser.stride=range(3,6)", "say -m"),
    (["trainer.progress=maybe"], "trainer.progress=maybe", "true or false"),
    (["trainer.ema_decay=1"], "trainer.ema_decay=1.0", "0 or more and below 1"),
    (["visual_head=flow", "visual_head.steps=0"], "visual_head.steps=0", "1 or more"),
    (["visual_head=regression", "visual_head.loss=cos"], "visual_head.loss=cos", "Did you mean cosine?"),
    (["decoder=tiny", "decoder.size=30"], "decoder.size=30", "multiples of decoder.patch=8"),
    (["decoder=tiny", "decoder.head_dim=16"], "decoder.head_dim=16", "multiples of 6"),
    (["decoder=tiny", "decoder.head_dim=0"], "decoder.head_dim=0", "multiples of 6"),
    (["objective=joint", "objective.caption_dropout=2"], "objective.caption_dropout=2.0", "0 to 1"),
    (["objective=joint", "objective.lambda_dec=-1"], "objective.lambda_dec=-1.0", "0 or more"),
    (["objective.lambda_under=0"], "objective: lambda_under, lambda_visLM and lambda_dec", "nothing is learnt"),
    (["objective.lambda_visLM=1"], "visual_head=none", "flow, mixture or regression; or say objective.lambda_visLM=0"),
    (["objective.lambda_dec=1"], "decoder=none", "tiny, hunyuan_video or wan; or say objective.lambda_dec=0"),
    (["objective=joint", "generation/judge=orakle"], "generation/judge=orakle", "oracle, own, vlm"),
    (["objective=joint", "data=folder", "data.root=."], "generation/judge=oracle", "generation/judge=own"),
    (
        ["objective=joint", "generation/judge=own", "tokeniser=codec_motion"],
        "generation/judge=own: tokeniser=codec_motion",
        "generation/judge=vlm",
    ),
    (["objective=generation", "generation/judge=own"], "generation/judge=own", "generation/judge=vlm"),
    (["objective=joint", "decoder.num_frames=1"], "decoder.num_frames=1", "2 frames or more"),
    (["objective=joint", "data.fps=30"], "data.fps=30", "data.fps=null"),
    (["objective=joint", "generation.temperature=-1"], "generation.temperature=-1.0", "0 or more"),
    (["decoder=hunyuan_video", "decoder.num_frames=16"], "decoder.num_frames=16", "4k + 1, such as 17"),
    (["decoder=hunyuan_video", "decoder.size=100"], "decoder.size=100", "multiples of 16"),
    (["decoder=hunyuan_video", "decoder.vae_dtype=fp16"], "decoder.vae_dtype=fp16", "float32, float16, bfloat16"),
    (["decoder=hunyuan_video", "decoder.weights=/nowhere"], "decoder.weights=/nowhere", "null for random weights"),
    (["decoder=wan", "decoder.mode=apend"], "decoder.mode=apend", "Did you mean append?"),
    (["decoder=wan", "decoder.stock_text=a.safetensors"], "decoder.stock_text=a.safetensors", "decoder.mode=append"),
    (
        ["objective=joint", "decoder=hunyuan_video", "decoder.num_frames=33"],
        "decoder.num_frames=33",
        "say decoder.num_frames=29 or less",
    ),
    (["objective=joint", "decoder=wan", "decoder.text_length=16"], "decoder.text_length=16", "a clip makes"),
    (["objective=joint", "decoder=wan", "generation.guidance=0.5"], "generation.guidance=0.5", "1, which is none"),
    (["data.cache=x"], "data.cache=x: backbone.frozen=false", "backbone.frozen=true"),
    (
        ["data=shards", "data.root=no where"],
        "data.root=no where: there is no index",
        "vtok data index 'root=no where';",
    ),
    (
        ["data.cache=x y", "backbone.frozen=true"],
        "data.cache=x y: there is no feature cache",
        "vtok precompute 'out=x y',",
    ),
    (
        ["recipe=paper_tiny", "outputs=no where"],
        "backbone.weights=no where/toys/clip: nothing",
        "vtok toys 'outputs=no where'",
    ),
    (["data.cache=x", "backbone.frozen=true"], "data.cache=x: there is no feature cache", "vtok precompute out=x"),
    (
        ["data.cache=x", "backbone=clip", "tokeniser/motion_pooling=attention"],
        "data.cache=x: tokeniser/motion_pooling=attention",
        "mean or grid",
    ),
    (
        ["data.cache=x", "backbone=clip", "objective=joint", "decoder=hunyuan_video", "decoder.weights=null"],
        "data.cache=x: decoder.weights=null",
        "decoder.weights=PATH",
    ),
    (
        ["data.cache=x", "backbone=clip", "data/augmentation=standard"],
        "data.cache=x: data.augmentation.min_area=0.5",
        "data/augmentation=none",
    ),
    (["trainer/parallel=fsdp2", "trainer.compile=true"], "trainer/parallel=fsdp2", "trainer.compile=false"),
    (["trainer/parallel=fsdp2", "optimiser=adamw8bit"], "trainer/parallel=fsdp2", "optimiser=adamw"),
    (["data.augmentation=none"], "data.augmentation=none", "data/augmentation=OPTION"),
    (["data.augmentation.min_area=0"], "data.augmentation.min_area=0", "above 0"),
    (["data.augmentation.left_right=kep"], "data.augmentation.left_right=kep", "keep"),
    (["data.augmentation.flip=1"], "data.augmentation.flip", "horizontal_flip"),
    (["optimiser=adafactor", "optimiser.d=0.5"], "optimiser.d=0.5", "1 or more"),
    (["optimiser=muon", "optimiser.hidden_lr=-1"], "optimiser.hidden_lr=-1.0", "0 or more"),
]


@pytest.mark.parametrize(("overrides", "key", "hint"), MISTAKES, ids=[" ".join(case[0]) for case in MISTAKES])
def test_a_mistake_names_the_key_and_what_is_allowed(
    overrides: list[str], key: str, hint: str, is_told: Callable[[list[str], str, str], None]
) -> None:
    is_told(overrides, key, hint)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    config = compose(["data=folder", f"data.root={tmp_path}"])
    with pytest.raises(UserError, match="the folder is empty"):
        check(config)
    check(config, files=False)
