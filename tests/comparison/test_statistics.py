import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_echomamba.comparison.plots import split_into_groups
from recbole_echomamba.comparison.statistics import compute_ndcg_per_target, correct_by_holm, run_paired_test


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
    assert run_paired_test("always better", np.full(7, 0.1)).p == 0  # of which a deviation of 1e-17 is computed


def test_holm_steps_down():
    # Holm's own recipe: 3 * 0.01, 2 * 0.02, then never smaller than the one before
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
