"""vtok export: a trained tokeniser or model as a folder that others load, and onto the hub."""

from collections.abc import Sequence

from vtok.config.compose import one_of
from vtok.errors import UserError
from vtok.hub import push_to_hub, save_pretrained
from vtok.hub.remote import check_repository
from vtok.paths import user_path
from vtok.runs import find_run

PARTS = ("model", "tokeniser")


def export(
    *,
    run: str,
    part: str,
    out: str,
    push: str | None,
    private: bool,
    licence: str | None,
    outputs: str,
    allowed_targets: Sequence[str] = (),
) -> list[str]:
    """Write the folder, upload it where `push` names a repository; returns where it lies.

    Raises:
        UserError: there is no such run or part, the folder holds something, or the hub does not take it.
    """
    if part not in PARTS:
        raise UserError(f"part={part}: there is no such part. {one_of(part, PARTS)}")
    if push:
        check_repository(push)
    folder = user_path(out)
    save_pretrained(
        find_run(run, outputs),
        folder,
        part="model" if part == "model" else "tokeniser",
        licence=licence,
        allowed_targets=allowed_targets,
    )
    return [str(folder), *([push_to_hub(folder, push, private=private)] if push else [])]
