"""`--help` shows the options in conf/ and the settings of their classes, without loading torch."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from vtok.config import compose
from vtok.config.compose import groups, options_of
from vtok.config.help import help_text
from vtok.config.values import value_text


def test_the_overview_has_every_group_and_option_and_stars_the_defaults() -> None:
    text = help_text()
    for group in [*groups(), "recipe", "sweep", "debug"]:
        listed = text.split(f"  {group} ", 1)[1].split("\n\n")[0]
        assert all(option in listed for option in options_of(group)), group
    assert {"tiny*", "vtok*", "shapes*", "mean*", "ddp*", "oracle*"} <= {word.strip(",") for word in text.split()}


@pytest.mark.parametrize("group", [group for group in groups() if "/" not in group])
def test_an_option_shows_every_key_that_it_takes_with_its_default(group: str) -> None:
    option = "folder" if group == "data" else next(one for one in options_of(group) if one != "mixture")
    needed = ["data.root=x"] if group == "data" else []
    text = help_text([f"{group}={option}"])
    for key, value in compose([f"{group}={option}", *needed])[group].items():
        if not key.startswith("_") and key not in ("backbone", "root", "folder", "size", "clip", "index_cache"):
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            assert f"{group}.{key}={value_text(plain)}" in text or f"{group}/{key}=" in text, key


def test_settings_of_another_group_are_not_repeated() -> None:
    text = help_text(["data=folder"])
    assert "data.clip=${clip}    (the settings clip.*)" in text
    assert "num_frames" not in text
    assert "clip.num_frames=30" in help_text(["clip=default"])


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from vtok.cli.main import main; main(['train', 'tokeniser=vtok', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tokeniser.stride=6" in done.stdout
