"""vtok probe, without probing."""

import pytest

from vtok.cli.main import main
from vtok.evaluation.probing import ProbeResult


def test_the_log_says_what_is_probed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("vtok.cli.verbs.probe.probe_untrained", lambda *_, **__: [ProbeResult(20, (1, 1))])
    with caplog.at_level("INFO", logger="vtok"):
        assert main(["probe", "tokenisers=[vtok,frame_sampling]", "steps=7", "train_clips=20", "test_clips=10"]) == 0
    shown = "probing vtok, frame_sampling: up to 20 training and 10 test clips, 7 steps of each probe"
    assert shown in caplog.messages
