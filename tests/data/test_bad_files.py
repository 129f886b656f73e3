"""Broken clips are logged once and counted, and stop a run if there are too many."""

import logging

import pytest

from vtok.common.errors import UserError
from vtok.data.broken_clips import BadFiles


def test_each_broken_file_is_logged_once(caplog):
    bad = BadFiles(clips=10, max_fraction=0.1)
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
    just, over = BadFiles(clips=250, max_fraction=0.1), BadFiles(clips=249, max_fraction=0.1)
    for bad in (just, over):
        bad.add((f"{number}.mp4", "empty") for number in range(25))
    just.check()
    with pytest.raises(UserError, match=r"loader.max_bad_fraction=0.1: 25 of 249 clips are broken") as caught:
        over.check()
    assert str(caught.value).count("empty") == 20
    assert str(caught.value).endswith("and 5 more")


def test_none_allowed():
    bad = BadFiles(clips=10, max_fraction=0.0)
    bad.check()
    bad.add([("a.mp4", "empty")])
    with pytest.raises(UserError, match=r"a.mp4: empty"):
        bad.check()
