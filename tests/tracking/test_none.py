from pathlib import Path

from vtok.tracking.none import NoTracker


def test_no_tracker_writes_nothing(tmp_path: Path) -> None:
    tracker = NoTracker()
    tracker.start(tmp_path, {"a": 1}, [], "name", None, None)
    tracker.metrics({"loss": 1.0}, step=0)
    tracker.artifact(tmp_path / "absent.png", "samples")
    tracker.finish("FINISHED")
    assert tracker.run_id is None
    assert list(tmp_path.iterdir()) == []
    assert "tracking=none" in tracker.describe()[0]
