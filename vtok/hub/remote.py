"""Exported folders on the Hugging Face hub, through its own client."""

import os
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from vtok.common.errors import UserError
from vtok.common.paths import user_path
from vtok.common.pretrained import HUB_TIMEOUT, first_line
from vtok.hub.files import CARD, CONFIG, FIGURES, MARK, WEIGHTS, is_exported


def push_to_hub(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder of `save_pretrained`; the repository is made where there is none. Returns its address.

    Args:
        folder: what else it holds is uploaded, too.
        repository: ORG/NAME, or NAME for one's own.
        private: of a repository that is made; one that is there stays as it is.

    Raises:
        UserError: the folder is none of ours, or the hub cannot be reached or refuses.
    """
    check_repository(repository)
    if not is_exported(folder) or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder}: it was not written by vtok export, and is not uploaded.")
    hub, later = HfApi(), f"hf upload {repository} {folder}"
    try:
        made = hub.create_repo(repository, private=private, exist_ok=True)
        # Its full name, where only NAME was given.
        hub.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Upload by vtok export")
    except HfHubHTTPError as error:
        raise UserError(
            f"push={repository}: the hub refuses it ({first_line(error)}); the folder is written: log in by "
            f"hf auth login as one who may write there, then say: {later}"
        ) from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"push={repository}: the hub cannot be reached ({first_line(error)}); the folder is written: where there "
            f"is a network, say: {later}"
        ) from error
    return str(made)


def check_repository(repository: str) -> None:
    """Raise UserError where the hub takes no repository of that name; the hub is not asked."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"push={repository}: this is no name of a repository; say ORG/NAME.") from error


def fetch(place: str, *, revision: str | None) -> Path:
    """The folder of that name, or of that id on the hub, whose newest version is taken where it can be reached.

    Raises:
        UserError: there is neither, or it is none of ours.
    """
    folder = user_path(place)
    if not os.path.isdir(folder):
        folder = download(place, revision=revision)
    if not is_exported(folder):
        raise UserError(f"{place}: it was not written by vtok export; for a run or a checkpoint, export it first.")
    return folder


def download(repository: str, *, revision: str | None) -> Path:
    """A repository of the hub in the local cache; raises UserError where it cannot be had."""
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            etag_timeout=HUB_TIMEOUT,
            allow_patterns=[MARK, CONFIG, WEIGHTS, FIGURES, CARD],
        )
    except HFValidationError as error:
        raise UserError(f"{repository}: there is no such folder, and it is no id on the hub either.") from error
    except HfHubHTTPError as error:
        at = "" if revision is None else f" at revision={revision}"
        raise UserError(
            f"{repository}: there is no such folder, and the hub does not give it{at} ({type(error).__name__}); for a "
            "private repository, log in by hf auth login."
        ) from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"{repository}: there is no such folder, it is not in the local cache, and the hub cannot be reached "
            f"({type(error).__name__}); where there is a network say hf download {repository} --local-dir FOLDER, "
            "then give FOLDER."
        ) from error
    return Path(found)
