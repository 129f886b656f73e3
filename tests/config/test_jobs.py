"""All jobs of a sweep are checked before the first one runs."""

from pathlib import Path

import pytest

from vtok.common.errors import UserError
from vtok.config.compose import options_of
from vtok.config.jobs import check_jobs


@pytest.mark.parametrize("sweep", options_of("sweep"))
def test_every_job_of_every_sweep_is_valid(sweep: str) -> None:
    check_jobs([f"sweep={sweep}"], multirun=False)


def test_the_command_line_overrides_a_sweep_file_in_the_check() -> None:
    assert check_jobs(["sweep=stride", "tokeniser.stride=2,4"], multirun=False)
    for said in ("99", "2,99"):
        with pytest.raises(UserError, match=r"tokeniser\.stride=99 is longer than the clip \(30 frames\)"):
            check_jobs(["sweep=stride", f"tokeniser.stride={said}"], multirun=False)


def test_the_options_that_a_pattern_takes_are_checked() -> None:
    assert check_jobs(["tokeniser=glob([v*,d*])"], multirun=True)
    with pytest.raises(UserError, match=r"tokeniser\.grid_size=99"):
        check_jobs(["tokeniser=glob(*,exclude=resampler)", "tokeniser.grid_size=99"], multirun=True)


@pytest.mark.parametrize("empty", ["tokeniser=glob(x*)", "seed=range(3,3)", "seed=glob(*)"])
def test_a_sweep_without_a_job_is_refused(empty: str) -> None:
    with pytest.raises(UserError, match="and no job would run") as error:
        check_jobs([empty], multirun=True)
    assert str(error.value).startswith(f"{empty}: ")


def test_a_pattern_finds_options_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "my_tiny.yaml").write_text("defaults: [tiny]\n")
    assert check_jobs(
        ["backbone=glob(my_*)", f"hydra.searchpath=[file://{tmp_path}]"], multirun=True, config_dir=tmp_path
    )
