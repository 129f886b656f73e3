"""Exported folders on the Hugging Face hub, through its own client."""

import os
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.pretrained import HUB_TIMEOUT, first_line
from vtok.hub.files import CARD, CONFIG, MARKER, METRICS, WEIGHTS, is_exported


def push_to_hub(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder of `save_pretrained` to the hub; returns the address of the repository.

    Args:
        folder: exported folder; other files in it are uploaded too.
        repository: ORG/NAME, or NAME for the user's own account; created if it does not exist.
        private: whether a new repository is private; an existing one stays as it is.

    Raises:
        UserError: if the folder is not an export, or the hub cannot be reached or refuses.
    """
    check_repository(repository)
    if not is_exported(folder) or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder}: vtok export did not write this folder, and it is not uploaded. Export a run first.")
    hub, upload = HfApi(), f"hf upload {repository} {folder}"
    try:
        created = hub.create_repo(repository, private=private, exist_ok=True)
        # The full name, if only NAME was given.
        hub.upload_folder(repo_id=created.repo_id, folder_path=folder, commit_message="Upload by vtok export")
    except HfHubHTTPError as error:
        raise UserError(
            f"push={repository}: the folder was written, but the hub refused the upload ({first_line(error)}). "
            f"Log in with hf auth login to an account that may write there. Upload the folder with: {upload}"
        ) from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"push={repository}: the folder was written, but the hub cannot be reached ({first_line(error)}). "
            f"Upload the folder when there is a network, with: {upload}"
        ) from error
    return str(created)


def check_repository(repository: str) -> None:
    """Raise UserError if the hub does not allow a repository of this name; needs no network."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"push={repository}: this is not the name of a repository. Use ORG/NAME.") from error


def fetch(place: str, *, revision: str | None) -> Path:
    """The local folder of this name, or else the newest version of this id on the hub, or in the local cache.

    Raises:
        UserError: if there is no such folder or id, or it is not an export.
    """
    folder = user_path(place)
    if not os.path.isdir(folder):
        folder = download(place, revision=revision)
    if not is_exported(folder):
        raise UserError(f"{place}: vtok export did not write this folder. Export a run or a checkpoint first.")
    return folder


def download(repository: str, *, revision: str | None) -> Path:
    """Download a repository of the hub to the local cache; raises UserError if that fails."""
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            etag_timeout=HUB_TIMEOUT,
            allow_patterns=[MARKER, CONFIG, WEIGHTS, METRICS, CARD],
        )
    except HFValidationError as error:
        raise UserError(
            f"{repository}: there is no such folder, and this is not a hub id. Use a folder, or ORG/NAME on the hub."
        ) from error
    except HfHubHTTPError as error:
        at = "" if revision is None else f" at revision={revision}"
        raise UserError(
            f"{repository}: there is no such folder, and the hub does not provide it{at} ({type(error).__name__}). "
            "Check the name, or log in with hf auth login for a private repository."
        ) from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"{repository}: there is no such folder, it is not in the local cache, and the hub cannot be reached "
            f"({type(error).__name__}). Download it where there is a network, with hf download {repository} "
            "--local-dir FOLDER, and use FOLDER."
        ) from error
    return Path(found)
