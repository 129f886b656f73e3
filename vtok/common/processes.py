"""The processes of a run, as far as they are known without torch."""

import os


def started_processes() -> int:
    """The number of processes that torchrun or `accelerate launch` has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))
