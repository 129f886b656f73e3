"""vtok export, from the command line."""

from pathlib import Path

import pytest

from vtok.cli.main import main
from vtok.cli.verbs import export as command
from vtok.hub import from_pretrained
from vtok.model import VideoLanguageModel
from vtok.tokeniser import Tokeniser


def test_a_part_becomes_a_folder_and_its_path_is_printed(
    understanding_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, kind in ((["part=tokeniser"], Tokeniser), ([], VideoLanguageModel)):
        out = tmp_path / kind.__name__
        assert main(["export", f"run={understanding_run}", f"out={out}", *part]) == 0
        assert capsys.readouterr().out == f"{out}\n"
        assert isinstance(from_pretrained(out), kind)


def test_push_uploads_to_a_private_repository_by_default(
    understanding_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def push(folder: Path, repository: str, *, private: bool) -> str:
        asked.append((folder, repository, private))
        return f"https://huggingface.co/{repository}"

    monkeypatch.setattr(command, "push_to_hub", push)
    given = ["export", f"run={understanding_run}", "part=tokeniser", "push=me/mine"]
    assert main([*given, f"out={tmp_path / 'a'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a'}\nhttps://huggingface.co/me/mine\n"
    assert main([*given, f"out={tmp_path / 'b'}", "private=false"]) == 0
    assert asked == [(tmp_path / "a", "me/mine", True), (tmp_path / "b", "me/mine", False)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["part=tokenizer"], "part=tokenizer: must be one of model, tokeniser. Did you mean tokeniser?"),
        (["push=a/b/c"], "push=a/b/c: this is not the name of a repository"),
        (["out=."], "out=.: this folder is not empty. Use a new folder."),
    ],
)
def test_a_mistake_is_reported_before_a_model_is_built(
    given: list[str],
    sentence: str,
    understanding_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr("vtok.hub.folder.build_model", build)
    monkeypatch.chdir(understanding_run)
    assert main(["export", f"run={understanding_run}", f"out={tmp_path / 'out'}", *given]) == 1
    assert sentence in capsys.readouterr().err
