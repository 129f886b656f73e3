"""The profiler of the loop."""

from pathlib import Path

from vtok.training.profile import NoProfile, profiler


def test_only_the_first_process_writes_a_profile(tmp_path: Path) -> None:
    with profiler(1, tmp_path, is_main=False) as profile:
        assert isinstance(profile, NoProfile)
    assert not list(tmp_path.iterdir())
