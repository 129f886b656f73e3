"""Hints name keys and options that exist."""

import re

import pytest

from vtok.config import compose
from vtok.config.hints import KEYS, OPTIONS


@pytest.mark.parametrize("hint", [*set(KEYS.values()), *OPTIONS.values()])
def test_a_hint_names_settings_that_exist(hint: str) -> None:
    settings = re.findall(r"[\w./]+=[\w./-]+[\w]", hint) or [re.findall(r"[a-z_]+\.[a-z_]+", hint)[0] + "=10"]
    compose(settings)
