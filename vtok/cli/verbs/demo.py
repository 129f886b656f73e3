"""vtok demo: a page in the browser on which a run is tried on videos."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le

from vtok.demo.serve import serve_demo


def demo(
    *,
    run: str = "latest",
    runs: Sequence[str] = (),
    port: Annotated[int, Ge(0), Le(65535)] = 7860,
    host: str = "127.0.0.1",
    outputs: str = "outputs",
    allowed_targets: Sequence[str] = (),
    open_browser: bool = True,
) -> None:
    """Try a run in the browser: choose or upload a video, ask about it, see its tokens and which of them were used.

    Needs the extra vtok[demo]. The page is served on this machine alone, and loads nothing from elsewhere. Whoever can
    reach the port can use the model: set another host only in a network that you trust.

    Args:
        run: a run folder, a checkpoint of one, an exported folder, or latest: the newest run that finished or was
            stopped.
        runs: several runs side by side instead of one, [A,B]; the clips are those of the first.
        port: port of the page; 0: any free one.
        host: address at which the page is served; 0.0.0.0: every address of this machine.
        outputs: folder in which runs are looked for.
        allowed_targets: packages of your own whose components may be built, [A,B]; a folder cannot allow packages.
        open_browser: whether to open the page in the browser.

    Raises:
        UserError: if gradio is not installed, there is no such run, its data cannot be found, or the port is taken.
    """
    serve_demo(
        runs or [run],
        host=host,
        port=port,
        outputs=outputs,
        allowed_targets=allowed_targets,
        open_browser=open_browser,
    )
