import pytest

from vtok.evaluation.interval import wilson


def test_against_published_values() -> None:
    """Newcombe 1998, table I (method 3)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)


def test_of_nothing() -> None:
    with pytest.raises(ValueError):
        wilson(0, 0)
