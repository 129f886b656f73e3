"""Results of probes: means over seeds, differences, and tables."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scipy import stats

from vtok.common.statistics import score_interval
from vtok.data import Clip
from vtok.evaluation.accuracy import Accuracy
from vtok.evaluation.probing.measures import probe_answer
from vtok.evaluation.probing.result import ProbeResult, differences, mean_metrics, side_by_side, write_probe_answers


def counted(right: int) -> Accuracy:
    """An accuracy with 100 answers, each about another clip."""
    clips = [Clip(id=str(number), path=Path(str(number))) for number in range(100)]
    return Accuracy([probe_answer(one, "way", str(int(one.id) < right), "True", 0.25) for one in clips])


def test_the_table_has_a_column_for_each_tokeniser() -> None:
    one = ProbeResult(20, (9, 5), numbers={"order/distance/reversed": 0.5})
    text = side_by_side({"vtok": [one], "other": [ProbeResult(16, (9, 5))]})
    assert "vtok" in text.splitlines()[0]
    assert [line.split() for line in text.splitlines() if line.startswith("order/distance/r")] == [
        ["order/distance/reversed", "0.500", "-"]
    ]
    assert "order/distance: " in text
    assert "reconstruction: " not in text, "only what is in the table is explained"


def test_several_seeds_give_means_with_intervals() -> None:
    rights = (50, 60, 70)
    several = [
        ProbeResult(20, (9, 5), {"linear/way": counted(right)}, {"reconstruction/frames": right / 1000})
        for right in rights
    ]
    # Student's t with two degrees of freedom is 4.303 at 97.5 %; the values are 10 apart.
    half = 4.30265 * 0.10 / 3**0.5
    # Of accuracies, the variance over the seeds and that over the 100 clips.
    seeds, clips = 0.1**2 / 3, 0.24 / 100
    quantile = stats.t.ppf(0.975, (seeds + clips) ** 2 / (seeds**2 / 2))
    low, high = score_interval(0.6, 0.24 / (seeds + clips), quantile)
    metrics = mean_metrics(several)
    assert metrics["probe/linear/way"] == pytest.approx(0.6)
    assert metrics["probe/linear/way_low"] == pytest.approx(low, abs=1e-5)
    assert metrics["probe/linear/way_high"] == pytest.approx(high, abs=1e-5)
    assert metrics["probe/reconstruction/frames_high"] == pytest.approx(0.06 + half / 10, abs=1e-5)
    assert (metrics["probe/linear/way_questions"], metrics["seeds"]) == (100, 3)
    text = side_by_side({"vtok": several})
    assert f"60.0% [{low:.0%}, {high:.0%}]" in text
    assert "0.060 [0.04, 0.08]" in text
    assert "means of 3 seeds" in text
    assert mean_metrics(several[:1]) == several[0].metrics()
    alike = [several[0], several[0]]
    assert mean_metrics(alike)["probe/linear/way_low"] == pytest.approx(several[0].metrics()["probe/linear/way_low"])
    assert "probe/reconstruction/frames_low" not in mean_metrics(alike)


def test_differences_are_those_on_the_same_clips(tmp_path: Path) -> None:
    def result(right: int, seed: int) -> ProbeResult:
        return ProbeResult(
            20, (9, 100), {one: counted(right + seed) for one in ("linear/way", "linear/only", "shuffled/linear/way")}
        )

    results = {name: [result(right, seed) for seed in (0, 5)] for name, right in (("vtok", 60), ("other", 40))}
    del results["other"][0].accuracies["linear/only"]
    [pair] = differences(results).tested
    assert (pair.metric, pair.first, pair.second) == ("linear/way", "other", "vtok")
    # The last 40 clips, and the 20 that vtok alone answers right: these are in 20 of 100 clusters.
    assert pair.difference.value == pytest.approx(-0.2)
    assert (pair.difference.clusters, pair.difference.seeds, pair.difference.paired_seeds) == (100, (2, 2), True)
    assert differences({"vtok": results["vtok"]}).tested == []

    write_probe_answers(results, [3, 4], tmp_path / "answers.parquet")
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    shares = {}
    for row in rows:
        shares.setdefault((row["tokeniser"], row["seed"], row["probe"]), []).append(row["right"])
    assert {key: sum(each) for key, each in shares.items() if key[2] == "linear/way"} == {
        ("vtok", 3, "linear/way"): 60, ("vtok", 4, "linear/way"): 65,
        ("other", 3, "linear/way"): 40, ("other", 4, "linear/way"): 45,
    }  # fmt: skip
    assert len(rows) == 1100
