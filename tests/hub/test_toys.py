"""Toy models are written completely or not at all, are the same for a seed, and replace no other files."""

from pathlib import Path

import pytest
import torch
from diffusers import HunyuanVideoPipeline, WanPipeline
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer, CLIPVisionModel

from vtok.cli.main import main
from vtok.common.errors import UserError
from vtok.hub import toys
from vtok.hub.toys import make_toys

FOLDERS = {"clip", "llava_next", "hunyuan_video", "wan"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "toys"
    make_toys(folder)
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_libraries_themselves_load_them(made: Path) -> None:
    clip = CLIPVisionModel.from_pretrained(made / "clip")
    llava = AutoModelForImageTextToText.from_pretrained(made / "llava_next")
    words = AutoTokenizer.from_pretrained(made / "llava_next")
    none = dict(text_encoder=None, tokenizer=None)
    hunyuan = HunyuanVideoPipeline.from_pretrained(
        made / "hunyuan_video", text_encoder_2=None, tokenizer_2=None, **none
    )
    wan = WanPipeline.from_pretrained(made / "wan", **none)
    # As in the published ones: the projector takes CLIP's features, and HunyuanVideo text as wide as the hidden states.
    assert llava.model.multi_modal_projector.linear_1.in_features == clip.config.hidden_size
    assert hunyuan.transformer.config.text_embed_dim == llava.config.text_config.hidden_size
    assert llava.get_input_embeddings().num_embeddings == len(words)
    assert words.convert_tokens_to_ids("<image>") == llava.config.image_token_id
    assert (hunyuan.vae_scale_factor_temporal, wan.vae_scale_factor_temporal) == (4, 4)
    asked = words.apply_chat_template([{"role": "user", "content": "which way?"}], tokenize=False)
    header = "<|start_header_id|>user<|end_header_id|>"
    assert asked == f"<|begin_of_text|>{header}\n\nwhich way?<|eot_id|>"


def test_files_depend_on_the_seed_alone(made: Path, tmp_path: Path) -> None:
    make_toys(tmp_path / "toys")
    assert files(tmp_path / "toys") == files(made)
    make_toys(tmp_path / "toys", seed=1)
    for name in ("clip/model", "llava_next/model", "wan/transformer/diffusion_pytorch_model"):
        one, other = (load_file(folder / f"{name}.safetensors") for folder in (made, tmp_path / "toys"))
        assert one.keys() == other.keys()
        assert any(not torch.equal(one[key], other[key]) for key in one)
    assert {path.name for path in tmp_path.iterdir()} == {"toys"}


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    make_toys(tmp_path / "toys")
    assert torch.equal(torch.get_rng_state(), state)


def test_existing_toys_are_left_as_they_are(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("they were written again")

    monkeypatch.setattr(toys, "write_toys", refuse)
    assert {path.name for path in make_toys(made)} == FOLDERS


def test_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for taken in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=rf"^out={taken}: this folder holds other files"):
            make_toys(taken)
    assert {path.name for path in tmp_path.iterdir()} == {"clip", "file"}


def test_nothing_is_left_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(toys, "wan", full)
    with pytest.raises(UserError, match=r"^out=.*toys: it cannot be written \(No space left on device\)"):
        make_toys(tmp_path / "toys")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_where_the_recipe_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "recipe=paper_tiny", "outputs=there"]) == 1
    assert capsys.readouterr().err == (
        "error: backbone.weights=there/toys/clip: the toy models do not exist yet. "
        "Make them with: vtok toys outputs=there\n"
    )
    assert main(["plan", "recipe=paper_tiny"]) == 1
    assert capsys.readouterr().err.endswith("Make them with: vtok toys\n")
    assert not list(tmp_path.iterdir())
    assert main(["toys", "outputs=there"]) == 0
    assert capsys.readouterr().out.split() == [
        f"there/toys/{name}" for name in ("clip", "llava_next", "hunyuan_video", "wan")
    ]
    assert main(["validate", "recipe=paper_tiny", "outputs=there"]) == 0
    assert main(["toys", "seed=-1"]) == 1
    assert "seed=-1: must be an integer >= 0" in capsys.readouterr().err
