"""vtok toys: models to try the large recipes with."""

import logging
from pathlib import Path

from vtok.commands.plan import quiet
from vtok.errors import UserError
from vtok.paths import toys_dir, user_path
from vtok.toys import make_toys


def toys(*, out: str | None, seed: int, outputs: str) -> list[Path]:
    """Write the toys; returns their folders.

    Raises:
        UserError: see `make_toys`; or a seed that is none.
    """
    if not 0 <= seed < 2**63:
        raise UserError(f"seed={seed}: allowed are whole numbers from 0 on.")
    # diffusers tells at length of each text encoder that a pipeline lacks.
    with quiet(logging.getLogger("diffusers")):
        return make_toys(toys_dir(outputs) if out is None else user_path(out), seed=seed)
