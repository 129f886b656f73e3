import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.runs.folder import (
    find_run,
    listed_runs,
    load_config,
    open_run,
    resolve_relative_paths,
    shown,
    write_status,
    write_summary,
)


def make_run(folder: Path, outputs: Path) -> Path:
    config = OmegaConf.create(
        {"outputs": str(outputs), "backbone": {"x": 1}, "tokeniser": {"backbone": "${backbone}", "stride": 3}}
    )
    open_run(folder, config, ["tokeniser.stride=3"])
    return folder


def test_latest_is_the_newest_finished_or_stopped_run_in_any_folder(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    with pytest.raises(UserError, match=r"run=latest: no run has finished .* set run=FOLDER"):
        find_run("latest", str(outputs))
    with pytest.raises(UserError, match=r"resume=latest: no run has finished .* set resume=FOLDER"):
        find_run("latest", str(outputs), setting="resume")
    ends = {"a": "finished", "b": "stopped", "c": "failed", "d": "running"}
    for name, status in ends.items():
        write_status(make_run(tmp_path / name, outputs), status, None)  # type: ignore[arg-type]
    assert find_run("latest", str(outputs)) == tmp_path / "b"
    write_status(make_run(tmp_path / "a", outputs), "finished", "id")
    assert find_run("latest", str(outputs)) == tmp_path / "a"
    assert [path.name for path in listed_runs(str(outputs))] == ["b", "c", "d", "a"]


def test_latest_skips_deleted_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_status(make_run(tmp_path / name, tmp_path), "finished", None)
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    (tmp_path / "b").rmdir()
    assert find_run("latest", str(tmp_path)) == tmp_path / "a"


def test_the_saved_config_is_resolved_and_loaded_with_one_backbone(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", tmp_path)
    assert "${" not in (run_dir / "config.yaml").read_text()
    config = load_config(run_dir, groups=("backbone", "tokeniser"))
    config.backbone.x = 2
    assert config.tokeniser.backbone.x == 2
    with pytest.raises(UserError, match="is not a run folder"):
        load_config(tmp_path)


def test_summary_is_written_without_temporary_files(tmp_path: Path) -> None:
    write_summary(tmp_path, {"b": 1, "a": 0.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 0.5, "b": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_paths_are_shown_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == "a/b"
    assert shown(Path("/elsewhere")) == "/elsewhere"


def test_paths_of_a_run_are_relative_to_where_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "out?s" / "data", home / "models" / "lm", elsewhere / "here"):
        folder.mkdir(parents=True)

    def paths() -> DictConfig:
        places = {"root": "out?s/data", "cache": None, "size": 64}
        return OmegaConf.create({"data": places, "mllm": {"weights": "models/lm"}, "decoder": {"weights": "org/name"}})

    monkeypatch.chdir(home)
    write_status(make_run(home / "run", home / "outputs"), "finished", None)
    monkeypatch.chdir(elsewhere)
    config = paths()
    assert resolve_relative_paths(config, home / "run") == []
    assert config.data == {"root": f"{home}/out?s/data", "cache": None, "size": 64}
    assert (config.mllm.weights, config.decoder.weights) == (f"{home}/models/lm", "org/name")
    (home / "out?s" / "data").rmdir()
    assert resolve_relative_paths(paths(), home / "run") == [home / "out?s" / "data"]
    config = paths()
    config.data.root = "here"
    assert resolve_relative_paths(config, home / "run") == []
    assert config.data.root == "here"
