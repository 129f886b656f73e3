"""Upload to the hub and download, with a recorder instead of its client."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, RevisionNotFoundError

from vtok.common.errors import UserError
from vtok.hub import from_pretrained, push_to_hub, remote
from vtok.tokeniser import Tokeniser

FILES = ["README.md", "config.yaml", "export.json", "model.safetensors", "summary.json"]


class Hub:
    """Records the requests."""

    asked: list[tuple[str, Any]]

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> RepoUrl:
        self.asked.append((repo_id, (private, exist_ok)))
        return RepoUrl(f"https://huggingface.co/{repo_id if '/' in repo_id else f'me/{repo_id}'}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.asked.append((repo_id, sorted(path.name for path in folder_path.iterdir())))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.asked = []
    monkeypatch.setattr(remote, "HfApi", Hub)
    return Hub


def refusal(kind: type[HfHubHTTPError], message: str) -> HfHubHTTPError:
    """An error of the hub's client, without the response that its constructor takes."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def test_upload(exported: Path, hub: type[Hub]) -> None:
    assert push_to_hub(exported, "me/mine", private=True) == "https://huggingface.co/me/mine"
    assert hub.asked == [("me/mine", (True, True)), ("me/mine", FILES)]
    push_to_hub(exported, "mine", private=False)
    assert hub.asked[2:] == [("mine", (False, True)), ("me/mine", FILES)]


def test_other_folders_and_names_are_not_uploaded(tmp_path: Path, hub: type[Hub]) -> None:
    with pytest.raises(UserError, match="vtok export did not write this folder, and it is not uploaded"):
        push_to_hub(tmp_path, "me/mine", private=True)
    with pytest.raises(UserError, match=r"push=a/b/c: this is not the name of a repository\. Use ORG/NAME\."):
        push_to_hub(tmp_path, "a/b/c", private=True)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            HTTPError("no route"),
            r"push=me/mine: .* but the hub cannot be reached \(no route\).*hf upload me/mine .*out",
        ),
        (refusal(HfHubHTTPError, "403 Forbidden"), r"the hub refused the upload \(403 Forbidden\).*hf auth login"),
    ],
    ids=["away", "refuses"],
)
def test_an_upload_that_fails(
    error: Exception, sentence: str, exported: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Hub, *_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(hub, "upload_folder", fail)
    with pytest.raises(UserError, match=sentence):
        push_to_hub(exported, "me/mine", private=True)


def test_download(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def snapshot(repo_id: str, *, revision: str | None, etag_timeout: float, allow_patterns: list[str]) -> str:
        asked.update(repo_id=repo_id, revision=revision, files=sorted(allow_patterns))
        return str(exported)

    monkeypatch.setattr(remote, "snapshot_download", snapshot)
    assert isinstance(from_pretrained("me/mine", revision="v1"), Tokeniser)
    assert asked == {"repo_id": "me/mine", "revision": "v1", "files": FILES}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LocalEntryNotFoundError("no"), r"not in the local cache, and the hub cannot be reached .*hf download me/mine"),
        (HTTPError("no"), r"the hub cannot be reached \(HTTPError\)"),
        (refusal(RevisionNotFoundError, "no"), r"does not provide it at revision=v1 \(RevisionNotFoundError\)"),
    ],
    ids=["cache", "away", "revision"],
)
def test_a_download_that_fails(error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(remote, "snapshot_download", fail)
    with pytest.raises(UserError, match=sentence):
        from_pretrained("me/mine", revision="v1")


def test_neither_a_folder_nor_a_hub_id() -> None:
    with pytest.raises(UserError, match="there is no such folder, and this is not a hub id"):
        from_pretrained("no such/place at all")
