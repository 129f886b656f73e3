"""Broken clips are told once, counted, and stop a run when they are many."""

import logging

import pytest

from vtok.data.report import BadFiles
from vtok.errors import UserError


def test_each_file_is_told_once(caplog):
    bad = BadFiles()
    with caplog.at_level(logging.WARNING):
        bad.add([("a.mp4", "empty"), ("b.mp4", "text")])
        bad.add((("a.mp4", "empty"),))
        bad.add([])
    assert [record.getMessage() for record in caplog.records] == [
        "skipped a broken clip: a.mp4: empty",
        "skipped a broken clip: b.mp4: text",
    ]
    assert bad.count == 2


def test_too_many_stop_the_run_with_the_list():
    bad = BadFiles()
    bad.add((f"{number}.mp4", "empty") for number in range(25))
    bad.check(250, 0.1)
    with pytest.raises(UserError, match=r"25 of 249 clips .* data.max_bad_fraction=0.1") as caught:
        bad.check(249, 0.1)
    assert str(caught.value).count("empty") == 20
    assert str(caught.value).endswith("and 5 more")


def test_none_allowed():
    bad = BadFiles()
    bad.check(10, 0.0)
    bad.add([("a.mp4", "empty")])
    with pytest.raises(UserError, match=r"a.mp4: empty"):
        bad.check(10, 0.0)
