"""vtok export: a trained tokeniser or model as a folder that others load, and onto the hub."""

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
    """A run's tokeniser or model as a folder for from_pretrained, with a model card; and onto the hub.

    The weights are the averaged ones where the run kept them. A model's folder can be given where a run is.

    Args:
        run: a run folder, a checkpoint of one, or latest: the newest run that finished or was stopped.
        part: part of the run that is exported.
        out: output folder, a new or an empty one.
        push: ORG/NAME on the Hugging Face hub; null: nothing is uploaded.
        private: whether the repository, where it is new, is private.
        licence: licence for the model card, as a short name of the hub, such as apache-2.0.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components are built, [A,B]; no folder has a say in it.

    Raises:
        UserError: there is no such run or part, the folder holds something, or the hub does not take it.
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
