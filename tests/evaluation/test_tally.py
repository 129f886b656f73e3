import pytest

from vtok.evaluation.tally import Tally, figures, table


def tally(right: int, total: int, chance: float) -> Tally:
    counted = Tally()
    for number in range(total):
        counted.add(number < right, chance)
    return counted


def test_answers_are_counted() -> None:
    counted = Tally()
    for right, chance in ((True, 0.25), (False, 0.5), (True, 0.5), (True, 0.0)):
        counted.add(right, chance)
    assert (counted.right, counted.total, counted.guessed) == (3, 4, 1.25)


def test_shares_with_their_interval_and_chance() -> None:
    """The interval is Newcombe's 1998, table I, method 3; chance is the mean over the questions."""
    mixed = tally(81, 263, 0.25)
    mixed.guessed += 263 * 0.25
    numbers = figures({"generate/colour": mixed, "control/speed": tally(29, 29, 0.5)})
    assert numbers == pytest.approx(
        {
            "generate/colour": 81 / 263,
            "generate/colour_low": 0.2553,
            "generate/colour_high": 0.3662,
            "generate/colour_chance": 0.5,
            "generate/colour_questions": 263.0,
            "control/speed": 1.0,
            "control/speed_low": 0.8830,
            "control/speed_high": 1.0,
            "control/speed_chance": 0.5,
            "control/speed_questions": 29.0,
        },
        abs=1e-4,
    )
    assert all(isinstance(number, float) for number in numbers.values())


def test_chance_is_told_only_where_it_is_known() -> None:
    numbers = figures({"caption/colour": tally(1, 2, 0.0)})
    assert "caption/colour_chance" not in numbers
    assert numbers["caption/colour"] == 0.5
    assert figures({}) == {}


def test_a_table_for_a_person() -> None:
    heading, *rows = table({"generate/colour": tally(81, 263, 0.25), "caption/colour": tally(0, 20, 0.0)}).split("\n")
    assert heading.split() == ["accuracy", "95", "%", "interval", "chance", "questions"]
    assert rows[0].split() == ["generate/colour", "30.8%", "26%", "to", "37%", "25%", "263"]
    assert rows[1].split() == ["caption/colour", "0.0%", "0%", "to", "16%", "20"]
    assert len({len(row) for row in (heading, *rows)}) == 1
