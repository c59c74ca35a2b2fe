import re
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.statistics import Difference
from recbole_echomamba.comparison.verdict import reach_verdict


class Settings(dict):
    """Stand in for a :class:`Config` of a model that is trained with the common loss."""

    model_class = SimpleNamespace(input_type=None)

    @property
    def settings(self):
        return dict(self)

    def __missing__(self, key):
        return None


def make_result(seed, score, **changed):
    history = [{"epoch": epoch, "valid_score": 0.1} for epoch in range(4)]
    result = {"seed": seed, "test_result": {"ndcg@10": score}, "data_hash": "a", "valid_score_bigger": True}
    return {**result, "best_epoch": 2, "history": history, **changed}


def make_comparison(results, settings=None):
    configs = {label: Settings(loss_type="CE", **(settings or {}).get(label, {})) for label in results}
    counts = pd.Series(dtype=int)
    return Comparison("d", results, configs, list(results)[-1], counts, counts)


def make_difference(label, mean, p):
    return Difference(label, mean, low=mean - 0.01, high=mean + 0.02, p=p, effect=0.1, users=1234)


TWO_SEEDS = {
    "ours": [make_result(1, 0.22), make_result(2, 0.20)],
    "base": [make_result(1, 0.20), make_result(2, 0.21)],
}


def test_a_lead_is_stated_with_its_size_interval_users_and_seeds():
    verdict = reach_verdict(make_comparison(TWO_SEEDS), [make_difference("ours", 0.005, 0.01)], 10)
    assert verdict.headline == "ours is ahead of base by 0.0050 NDCG@10 (+2.4%), more than chance over users."
    figures, seeds = verdict.details
    assert "0.2100 against 0.2050; 95% interval of the difference -0.0050 to +0.0250, p = 0.0100" in figures
    assert "over 1,234 users" in figures
    assert seeds == "Seeds: 1, 2. ours is ahead of base with 1 of 2 seeds."


def test_where_the_baseline_is_best_its_lead_is_the_reverse_of_the_test():
    verdict = reach_verdict(make_comparison(TWO_SEEDS), [make_difference("ours", -0.03, 0.00001)], 10)
    assert verdict.headline.startswith("base is ahead of ours by 0.0300 NDCG@10")
    assert "+0.0100 to +0.0400, p < 0.0001" in verdict.details[0]


def test_a_lead_that_may_be_chance_is_no_lead():
    verdict = reach_verdict(make_comparison(TWO_SEEDS), [make_difference("ours", 0.005, 0.05)], 10)
    assert "ahead" not in verdict.headline
    assert "may be chance" in verdict.headline


def test_equal_rows_are_called_equal():
    verdict = reach_verdict(make_comparison(TWO_SEEDS), [make_difference("ours", 0.0, 1.0)], 10)
    assert verdict.headline == "ours and base have the same test NDCG@10: none is ahead."


def test_other_rows_are_sorted_by_their_own_test():
    results = {label: [make_result(1, 0.2), make_result(2, 0.2)] for label in ("a", "b", "c", "d", "base")}
    tests = [("a", 0.04, 0.01), ("b", 0.03, 0.01), ("c", -0.03, 0.01), ("d", 0.01, 0.4)]
    verdict = reach_verdict(make_comparison(results), [make_difference(*each) for each in tests], 10)
    assert verdict.headline.startswith("a is ahead of base")
    assert "corrected for 4 tests" in verdict.details[0]
    assert verdict.details[1] == (
        "The other rows, each tested against base only: above it by more than chance: b; below it by more than chance: c; "
        "different by what may be chance: d."
    )


def test_a_single_seed_is_named():
    results = {"ours": [make_result(1, 0.2), make_result(2, 0.2)], "base": [make_result(2, 0.1)]}
    verdict = reach_verdict(make_comparison(results), [make_difference("ours", 0.1, 0.001)], 10)
    assert "Seeds: 1, 2 of ours; 2 of base. base ran with one seed only" in " ".join(verdict.details)


@pytest.mark.parametrize(("bigger", "word"), [(True, "rising"), (False, "falling")])
def test_runs_whose_last_validation_is_their_best_are_named(bigger, word):
    last = {"best_epoch": 3, "valid_score_bigger": bigger}
    results = {
        "ours": [make_result(1, 0.2, **last), make_result(2, 0.2, **last)],
        "base": [make_result(1, 0.1, **last)],
    }
    results["other"] = [make_result(1, 0.2, valid_score_bigger=bigger)]
    text = " ".join(reach_verdict(make_comparison(results), [make_difference("ours", 0.1, 0.001)], 10).details)
    assert f"Still {word} when its epochs were over: ours with seeds 1, 2; base with seed 1. More" in text


def test_rows_that_differ_in_more_than_the_model_are_named_and_what_they_share_is_not():
    results = {**TWO_SEEDS, "ours (wide)": TWO_SEEDS["ours"], "base": [make_result(1, 0.1, data_hash="b")]}
    settings = {
        "ours": {"train_positions": "all", "time_gaps": 64},
        "ours (wide)": {"train_positions": "all", "time_gaps": 64, "hidden_size": 128, "variant": "wide"},
        "base": {"train_positions": "all"},
    }
    text = " ".join(
        reach_verdict(make_comparison(results, settings), [make_difference("ours", 0.1, 0.001)], 10).details
    )
    (sentence,) = re.findall(r"The rows differ in more than the model: (.*?)\.", text)
    assert sentence.split("; ") == [
        "ours reads the time between items",
        "base reads other files of the dataset",
        "ours (wide) has hidden_size 128 and reads the time between items",
    ]
    assert "differ in more" not in " ".join(
        reach_verdict(make_comparison(TWO_SEEDS), [make_difference("ours", 0.1, 0.001)], 10).details
    )


def test_a_single_row_is_ahead_of_nothing():
    verdict = reach_verdict(make_comparison({"ours": TWO_SEEDS["ours"]}), [], 10)
    assert verdict.headline == "ours has a test NDCG@10 of 0.2100; there is no other row to compare with."
    assert verdict.details == ["Seeds: 1, 2."]


def test_the_report_begins_with_the_verdict_and_the_date(finished):
    summary = pd.read_csv(finished / "summary.csv", index_col="label")
    best = summary["difference"].idxmax()
    assert summary.loc[best, "p_holm"] < 0.05
    assert np.isfinite(summary.loc[best, "difference"])
    sentence = f"{best} is ahead of SASRec by {summary.loc[best, 'difference']:.4f} NDCG@10"
    for file, first_heading in [("report.md", "## "), ("report.html", "<h2>")]:
        top = (finished / file).read_text().partition(first_heading)[0]
        assert sentence in top
        assert "Still rising" in top
        assert re.search(r"Report of (\S+)\.", top)[1][:4] == time.strftime("%Y")
