"""vtok export: exports a trained tokeniser or model to a folder, and to the hub."""

from collections.abc import Sequence
from typing import Literal

from vtok.common.paths import user_path
from vtok.hub import push_to_hub, save_pretrained
from vtok.hub.remote import check_repository
from vtok.runs.folder import find_run


def export(
    *,
    run: str = "latest",
    part: Literal["model", "tokeniser"] = "model",
    out: str,
    push: str | None = None,
    private: bool = True,
    licence: str | None = None,
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
) -> list[str]:
    """Export a run's tokeniser or model, with a model card, to a folder for from_pretrained and to the hub.

    If the run averaged its weights, the averaged weights are exported. Commands accept the folder of a model as run=.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        part: part of the run to export.
        out: output folder, a new or an empty one.
        push: ORG/NAME on the Hugging Face hub; null: nothing is uploaded.
        private: whether a new repository is private.
        licence: licence for the model card, as a short name of the hub, such as apache-2.0.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.

    Raises:
        UserError: if there is no such run or part, the folder is not empty, or the hub refuses the upload.
    """
    if push:
        check_repository(push)
    folder = user_path(out)
    save_pretrained(
        find_run(run, outputs),
        folder,
        part=part,
        licence=licence,
        allowed_targets=allowed_targets,
    )
    return [str(folder), *([push_to_hub(folder, push, private=private)] if push else [])]
