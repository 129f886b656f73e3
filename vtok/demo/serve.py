"""Serves the page of vtok demo on this machine."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from vtok.common.errors import UserError
from vtok.demo.session import DemoRun


def serve_demo(
    runs: Sequence[str],
    *,
    host: str,
    port: int,
    outputs: str,
    allowed_targets: Sequence[str],
    open_browser: bool,
) -> None:
    """Load runs, and serve their page until Ctrl+C; see `vtok.cli.verbs.demo`.

    Raises:
        UserError: gradio is not installed, there is no such run, or the port cannot be used.
    """
    # Before gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            "vtok demo needs gradio, which is not installed. Install it: pip install 'vtok[demo]'."
        ) from error
    from vtok.demo.page import CSS, THEME, UPLOAD_LIMIT, build_page

    port = free_port(host, port)
    with TemporaryDirectory(prefix="vtok-demo-") as folder:
        lock = Lock()
        loaded = [
            DemoRun.load(run, outputs=outputs, allowed_targets=allowed_targets, folder=Path(folder), lock=lock)
            for run in runs
        ]
        clips = loaded[0].test_clips()
        for run in loaded[1:]:
            run.check_reads(clips)
        page = build_page(loaded, clips)
        page.launch(
            server_name=host, server_port=port, inbrowser=open_browser, share=False, quiet=True, theme=THEME, css=CSS,
            max_file_size=UPLOAD_LIMIT, ssr_mode=False, footer_links=[], prevent_thread_lock=True,
            allowed_paths=[folder], enable_monitoring=False,
        )  # fmt: skip
        print(f"{page.local_url} shows {', '.join(run.name for run in loaded)}. Ctrl+C stops it.", flush=True)
        page.block_thread()


def free_port(host: str, port: int) -> int:
    """The port, or for 0 any free one.

    Raises:
        UserError: the port or the host cannot be used.
    """
    try:
        with socket.create_server((host, port)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise UserError(
            f"port={port}: nothing can be served at {host}:{port} ({error.strerror or error}). "
            "Use another port, or port=0 for any free one."
        ) from error
