import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.plots import split_into_groups
from recbole_echomamba.comparison.statistics import (
    compare_with_baseline,
    compute_deviation,
    compute_ndcg_per_target,
    correct_by_holm,
    run_paired_test,
)


def test_ndcg_per_target_averages_seeds():
    ranks = pd.DataFrame({"user": ["a", "b", "a", "b"], "item": ["x", "y", "x", "y"], "rank": [1, 11, 3, 2]})
    expected = {("a", "x"): (1 + 0.5) / 2, ("b", "y"): (0 + 1 / np.log2(3)) / 2}
    assert compute_ndcg_per_target(ranks, 10).to_dict() == pytest.approx(expected)


def test_the_test_is_two_sided_and_agrees_with_scipy():
    generator = np.random.default_rng(0)
    ours, theirs = generator.random(200) + 0.05, generator.random(200)
    better, worse = run_paired_test("a", ours - theirs), run_paired_test("b", theirs - ours)
    expected = stats.ttest_rel(ours, theirs)
    assert better.p == pytest.approx(expected.pvalue)
    assert worse.p == pytest.approx(better.p)
    assert (better.low, better.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert better.effect == pytest.approx(np.mean(ours - theirs) / np.std(ours - theirs, ddof=1))
    assert worse.effect == pytest.approx(-better.effect)
    assert run_paired_test("same", np.zeros(9)).p == 1
    assert run_paired_test("always better", np.full(7, 0.1)).p == 0  # rounding gives a deviation of 1e-17


def test_holm_steps_down():
    # 3 * 0.01, 2 * 0.02, and then never smaller than the one before
    assert correct_by_holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert correct_by_holm([0.9, 0.8]) == [1, 1]
    assert correct_by_holm([]) == []


def test_groups_hold_every_value_once_and_are_named_by_their_ends():
    values = np.array([1, 1, 1, 1, 2, 3, 4, 50, 60, 70])
    groups, names = split_into_groups(values)
    assert len(groups) == len(values)
    assert names[0] == "1"
    assert names[-1].endswith("70")
    for i, name in enumerate(names):
        ends = [int(end) for end in name.split(" to ")]
        assert {ends[0], ends[-1]} <= set(values[groups == i])
    assert split_into_groups(np.array([5, 5, 5]))[1] == ["5"]


def make_comparison(ranks_by_label, folder, baseline):
    """A comparison whose rows have one seed each, with the given ``user, item, rank`` of the test targets."""
    results = {}
    for label, ranks in ranks_by_label.items():
        (folder / label).mkdir()
        pd.DataFrame(ranks, columns=["user", "item", "rank"]).to_parquet(folder / label / "test_ranks.parquet")
        results[label] = [{"run_directory": str(folder / label)}]
    counts = pd.Series(dtype=int)
    return Comparison("d", results, {}, baseline, counts, counts)


def test_rows_are_compared_by_user_and_item_with_the_baseline(tmp_path):
    ranks = {
        "ours": [("a", "x", 1), ("b", "y", 3), ("c", "z", 1)],
        "baseline": [("c", "z", 3), ("a", "x", 1), ("b", "y", 1)],  # in another order
        "other": [("a", "x", 3), ("b", "y", 1), ("c", "z", 1)],
    }
    found = compare_with_baseline(make_comparison(ranks, tmp_path, "baseline"), 10)
    assert [difference.label for difference in found] == ["ours", "other"]
    values = [np.array([0, -0.5, 0.5]), np.array([-0.5, 0, 0.5])]  # NDCG is 1 at rank 1 and 1/2 at rank 3
    uncorrected = [run_paired_test("", each).p for each in values]
    assert [difference.p for difference in found] == pytest.approx(correct_by_holm(uncorrected))
    assert [difference.low for difference in found] == pytest.approx([run_paired_test("", v).low for v in values])


def test_rows_that_were_tested_on_different_targets_are_refused(tmp_path):
    ranks = {"a": [("u", "x", 1), ("v", "y", 2)], "b": [("u", "x", 1), ("v", "z", 2)]}
    with pytest.raises(ValueError, match="a and b were tested on different targets"):
        compare_with_baseline(make_comparison(ranks, tmp_path, "b"), 10)


def test_a_single_row_is_compared_with_nothing(tmp_path):
    assert compare_with_baseline(make_comparison({"a": [("u", "x", 1)]}, tmp_path, None), 10) == []


def test_the_deviation_over_seeds_is_that_of_a_sample():
    assert compute_deviation(np.array([1.0, 3.0])) == pytest.approx(2**0.5)
    assert compute_deviation(np.array([1.0])) == 0
