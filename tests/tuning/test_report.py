import math
import re

import numpy as np
import pytest

from recbole_echomamba import report
from recbole_echomamba.tuning.report import find_edges, plot_trials, render_search
from recbole_echomamba.tuning.search_space import Range

SPACE = {
    "hidden_size": Range("choice", [256, 32.0, 64]),
    "topk": Range("choice", [[5, 10], (10, 20)]),
    "causal": Range("choice", [True, False]),
    "learning_rate": Range("loguniform", [math.log(0.001), math.log(0.1)]),
}
VALUES = [(32, [10, 20], False, 0.02), (256, [5, 10], False, 0.05), (32, [5, 10], True, 0.01)]
SCORES = [0.1, 0.3, 0.2]
TRIALS = [
    {"params": dict(zip(SPACE, values, strict=True)), "best_valid_score": score}
    for values, score in zip(VALUES, SCORES, strict=True)
]


def draw(bigger=True):
    """The axes of the plot by the label of the x axis."""
    fig = plot_trials(TRIALS, "NDCG@10", bigger, SPACE)
    report.encode_png(fig)
    return {ax.get_xlabel(): ax for ax in fig.axes}


def find_points(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line.get_xydata().tolist()


def test_choices_are_categories_in_the_order_of_the_space():
    axes = draw()
    labels = {name: [tick.get_text() for tick in ax.get_xticklabels()] for name, ax in axes.items()}
    assert labels["hidden_size"] == ["256", "32", "64"]
    assert labels["topk"] == ["[5, 10]", "[10, 20]"]
    assert labels["causal"] == ["True", "False"]
    assert find_points(axes["hidden_size"], "trial") == [[1, 0.1], [0, 0.3], [1, 0.2]]
    assert find_points(axes["topk"], "trial") == [[1, 0.1], [0, 0.3], [0, 0.2]]
    medians = [segment[:, 1].tolist() for lines in axes["hidden_size"].collections for segment in lines.get_segments()]
    assert np.array(medians) == pytest.approx(np.array([[0.3, 0.3], [0.15, 0.15]]))


def test_a_range_of_numbers_keeps_its_scale():
    ax = draw()["learning_rate"]
    assert ax.get_xscale() == "log"
    assert find_points(ax, "trial") == [[0.02, 0.1], [0.05, 0.3], [0.01, 0.2]]


@pytest.mark.parametrize(("bigger", "best"), [(True, 1), (False, 0)])
def test_the_best_trial_is_marked_in_every_plot(bigger, best):
    axes = draw(bigger)
    assert list(axes) == ["trial", *SPACE]
    assert find_points(axes["trial"], "best trial") == [[best + 1, SCORES[best]]]
    assert find_points(axes["learning_rate"], "best trial") == [[VALUES[best][3], SCORES[best]]]


@pytest.mark.parametrize(("bigger", "best", "worst"), [(True, "0.3000", "0.1000"), (False, "0.1000", "0.3000")])
def test_the_page_begins_with_the_best_settings_and_what_they_scored(bigger, best, worst):
    trials = [{**trial, "best_valid_result": {}, "epochs": 3, "seconds": 1.0} for trial in TRIALS]
    result = {"valid_score_bigger": bigger, "test_result": {"ndcg@10": 0.25}}
    page = render_search("Search <1>", trials, "NDCG@10", SPACE, b"png", result)
    text = re.sub(r"\s+", " ", page)
    assert "<h1>Search &lt;1&gt;</h1>" in page
    size = 256 if bigger else 32
    assert f"The best of 3 trials has a validation NDCG@10 of {best}: hidden_size {size}, topk" in text
    assert f"a median of 0.2000, the worst {worst}" in text
    assert "a test NDCG@10 of 0.2500" in text
    assert text.index("The best of 3 trials") < text.index("Report of 20") < text.index("<h2>")


@pytest.mark.parametrize(
    ("kind", "values", "value", "found"),
    [
        ("uniform", [0.0, 0.5], 0.49, True),
        ("uniform", [0.0, 0.5], 0.25, False),
        ("loguniform", [math.log(0.001), math.log(0.1)], 0.0011, True),
        ("loguniform", [math.log(0.001), math.log(0.1)], 0.005, False),
        ("quniform", [32, 128, 32], 128.0, True),
        ("choice", [1, 2], 2, False),
    ],
)
def test_a_best_value_at_an_end_of_its_range_is_named(kind, values, value, found):
    assert find_edges({"x": value}, {"x": Range(kind, values)}) == (["x"] if found else [])
