import pandas as pd
import pytest

from recbole_echomamba import report
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.plots import plot_accuracy_and_speed, plot_learning_curves


def make_result(scores, users_per_second=100.0):
    history = [{"epoch": epoch, "valid_score": score} for epoch, score in enumerate(scores)]
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "seed": len(scores),
        "config": {"valid_metric": "NDCG@10"},
        "history": [*history, {"epoch": len(scores)}],  # an epoch without validation
        "best_epoch": best,
        "best_valid_score": scores[best],
        "users_per_second": users_per_second,
        "test_result": {"ndcg@10": 0.1},
    }


def make_comparison(results):
    return Comparison("d", results, {}, None, pd.Series(dtype=int), pd.Series(dtype=int))


def test_curves_are_means_over_seeds_up_to_where_the_first_seed_stops():
    results = {"a": [make_result([0.1, 0.4, 0.3]), make_result([0.3, 0.6])], "b": [make_result([0.2, 0.1, 0.0])]}
    (ax,) = plot_learning_curves(make_comparison(results)).axes
    means = {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}
    assert means["a"].tolist() == pytest.approx(pd.DataFrame({0: [1, 2], 1: [0.2, 0.5]}).to_numpy())
    assert means["b"][:, 1].tolist() == pytest.approx([0.2, 0.1, 0.0])
    band = ax.collections[0].get_paths()[0].get_extents()
    deviation = 0.1 * 2**0.5
    assert (band.x0, band.x1) == (1, 2)
    assert (band.y0, band.y1) == pytest.approx((0.2 - deviation, 0.5 + deviation))
    dots = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert dots == [(2, 0.4), (2, 0.6), (1, 0.2)]


@pytest.mark.parametrize("plot", [plot_learning_curves, lambda comparison: plot_accuracy_and_speed(comparison, 10)])
def test_a_legend_covers_nothing_and_leaves_the_axes_their_size(plot):
    heights = []
    for rows in (1, 12):
        results = {f"EchoMamba4Rec (variant_{row})": [make_result([0.1, 0.2])] for row in range(rows)}
        fig = plot(make_comparison(results))
        report.encode_png(fig)
        (ax,), (legend,) = fig.axes, fig.legends
        assert len(legend.get_texts()) == rows
        box = legend.get_window_extent()
        assert not box.overlaps(ax.get_window_extent())
        assert box.x0 >= 0
        assert box.x1 <= fig.bbox.x1
        heights.append(ax.get_window_extent().height)
    assert heights[1] == pytest.approx(heights[0], rel=0.1)


@pytest.mark.parametrize(("speeds", "scale"), [((100, 300), "linear"), ((100, 900), "log")])
def test_speeds_far_apart_have_a_logarithmic_axis(speeds, scale):
    results = {f"model {speed}": [make_result([0.1], float(speed))] for speed in speeds}
    (ax,) = plot_accuracy_and_speed(make_comparison(results), 10).axes
    assert ax.get_xscale() == scale
