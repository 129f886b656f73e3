"""Every tokeniser has its pictures and its section in the documentation."""

from pathlib import Path

from vtok.config.compose import options_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_tokeniser_has_its_pictures_and_its_section() -> None:
    page = (DOCS / "tokenisers.md").read_text(encoding="utf-8")
    for option in options_of("tokeniser"):
        assert f"\n## {option}\n" in page
        for picture in (f"tokens_{option}.png#only-light", f"tokens_{option}_dark.png#only-dark"):
            assert f"(images/{picture})" in page
            assert (DOCS / "images" / picture.partition("#")[0]).is_file()
