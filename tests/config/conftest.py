"""How a mistake of the user is reported."""

from collections.abc import Callable

import pytest

from vtok.common.errors import UserError
from vtok.config import check, compose


@pytest.fixture
def is_refused() -> Callable[[list[str], str, str], None]:
    """Asserts that overrides are refused with a message of one line that begins with a key and holds a hint."""

    def check_sentence(overrides: list[str], key: str, hint: str) -> None:
        with pytest.raises(UserError) as error:
            check(compose(overrides))
        assert str(error.value).startswith(key)
        assert hint in str(error.value)
        assert len(str(error.value).splitlines()) == 1

    return check_sentence
