"""Which clips the share of broken ones refers to."""

from pathlib import Path

from vtok.data import ClipSettings, FolderData
from vtok.training.run import unlisted


def test_what_a_limit_leaves_out_is_not_counted(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.mp4").touch()
        (tmp_path / f"{number}.txt").write_text("a clip" if number else "")
    source = FolderData(root=tmp_path, clip=ClipSettings(size=8))
    source.prepare()
    assert unlisted(source) == source.bad != {}
    few = FolderData(root=tmp_path, clip=ClipSettings(size=8), limit=1)
    few.prepare()
    assert unlisted(few) == {}
