from vtok.common.tables import markdown, named_values, table


def test_the_first_column_is_to_the_left_and_numbers_to_the_right() -> None:
    assert table([["", "a"], ["long", "1"]]) == "      a\nlong  1"
    assert table([("name", "many", "b"), ("x", "1", "22")]).splitlines() == ["name  many   b", "x        1  22"]


def test_names_and_values() -> None:
    assert named_values([("clips", "12"), ("sizes", "64x64 12"), ("ok", "0")]).splitlines() == [
        "clips  12",
        "sizes  64x64 12",
        "ok     0",
    ]


def test_a_bar_in_a_cell_of_markdown() -> None:
    assert markdown([["a"], ["1|2"]]).splitlines() == ["| a |", "| --- |", "| 1\\|2 |"]
