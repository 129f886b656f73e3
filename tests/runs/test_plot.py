from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vtok.common.errors import UserError
from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.plot import draw
from vtok.runs.saved_run import read_run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The matplotlib figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def comparison(make_run, key: str, values: list[object]) -> Comparison:
    summaries = [
        {"alignment/colour": 0.9 - n / 10, "alignment/colour_low": 0.8 - n / 10, "alignment/colour_high": 0.95 - n / 10}
        for n in range(len(values))
    ]
    folders = [
        make_run(str(n), {key: value}, [], {**summary, "loss": -1.0 * n})
        for n, (value, summary) in enumerate(zip(values, summaries, strict=True))
    ]
    return compare_runs([read_run(folder) for folder in folders], ["alignment/colour", "loss"])


def visible(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def test_a_swept_number_is_the_x_axis(make_run, drawn: list[Figure], tmp_path: Path) -> None:
    draw(comparison(make_run, "stride", [10, 3]), tmp_path / "plot.png")
    colour, loss = visible(drawn[0])
    assert colour.get_title() == "alignment/colour"
    assert colour.get_xlabel() == "stride"
    assert colour.lines[0].get_xydata().tolist() == [[3.0, 0.8], [10.0, 0.9]]
    # The bars of the interval, from low to high.
    segments = colour.collections[0].get_segments()
    assert [segment[:, 1].round(6).tolist() for segment in segments] == [[0.7, 0.85], [0.8, 0.95]]
    assert loss.get_ylim()[0] < -1
    assert Image.open(tmp_path / "plot.png").width > 1000


def test_swept_names_are_bars(make_run, drawn: list[Figure], tmp_path: Path) -> None:
    draw(comparison(make_run, "motion", ["mean", "grid", "attention"]), tmp_path / "plot.png")
    colour = visible(drawn[0])[0]
    assert [label.get_text() for label in colour.get_yticklabels()] == [
        "motion=mean",
        "motion=grid",
        "motion=attention",
    ]
    assert [round(patch.get_width(), 6) for patch in colour.patches] == [0.9, 0.8, 0.7]


def test_nothing_to_draw(make_run, tmp_path: Path) -> None:
    runs = [read_run(make_run("0", {"seed": 0}, [], {"device": "cpu"}))]
    with pytest.raises(UserError, match="device"):
        draw(compare_runs(runs, []), tmp_path / "plot.png")


def test_seeds_are_one_point_in_front_of_their_runs(make_run, drawn: list[Figure], tmp_path: Path) -> None:
    folders = [
        make_run(f"{stride}-{seed}", {"stride": stride, "seed": seed}, [], {"loss": stride + seed})
        for stride in (3, 6)
        for seed in (0, 1)
    ]
    draw(compare_runs([read_run(folder) for folder in folders], ["loss"]), tmp_path / "plot.png")
    (loss,) = visible(drawn[0])
    assert loss.get_xlabel() == "stride"
    assert loss.lines[0].get_xydata().tolist() == [[3.0, 3.5], [6.0, 6.5]]
    behind = [line.get_xydata().tolist() for line in loss.lines if line.get_markersize() == 4]
    assert behind == [[[3.0, 3.0], [3.0, 4.0]], [[6.0, 6.0], [6.0, 7.0]]]


def test_chance_is_drawn_if_all_runs_have_the_same(make_run, drawn: list[Figure], tmp_path: Path) -> None:
    metrics = {"colour": 0.5, "colour_chance": 0.25, "camera": 0.7, "camera_chance": 0.5, "camera_majority": 0.64}
    folders = [make_run(str(n), {"stride": n}, [], metrics) for n in (1, 2)]
    draw(compare_runs([read_run(folder) for folder in folders], ["colour", "camera"]), tmp_path / "plot.png")
    for axes, chance in zip(visible(drawn[0]), (0.25, 0.64), strict=True):
        lines = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"]
        assert lines == [[chance, chance]]
        assert "chance" in axes.get_ylabel()


def test_dollar_signs_in_a_name_are_not_a_formula(make_run, tmp_path: Path) -> None:
    folders = [make_run(name, {"name": name}, [f"name={name}"], {"loss": 1.0}) for name in ("$\\x$", "$y$")]
    draw(compare_runs([read_run(folder) for folder in folders], ["loss"]), tmp_path / "plot.png")
