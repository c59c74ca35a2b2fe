"""Plot the results of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recbole_echomamba import report
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.statistics import compute_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_GROUPS = 5
"""The largest number of groups into which :func:`plot_hit_rate` divides the test targets."""

GROUPINGS = {"history": "interactions before the target", "popularity": "interactions of the target item"}
"""What :func:`plot_hit_rate` can group targets by, with the label of the x axis."""


def plot_learning_curves(comparison: Comparison) -> Figure:
    """Plot the validation score by epoch: mean and standard deviation over seeds, with a thin line and a dot for each seed.

    The mean ends with the seed that stops first: a mean over the others would jump there.
    """
    fig = report.new_figure()
    ax = fig.subplots()
    for number, (label, results) in enumerate(comparison.results.items()):
        curves = pd.DataFrame({result["seed"]: read_curve(result) for result in results})
        for result in results:
            ax.plot(curves[result["seed"]].dropna(), f"C{number}", alpha=0.5, linewidth=0.7)
            # result.json counts epochs from 0
            ax.plot(result["best_epoch"] + 1, result["best_valid_score"], f"C{number}o", markersize=4)
        shared = curves.dropna()
        mean, deviation = shared.mean(axis=1), shared.std(axis=1).fillna(0)
        ax.plot(mean, f"C{number}", linewidth=1.8, label=label)
        ax.fill_between(mean.index, mean - deviation, mean + deviation, color=f"C{number}", alpha=0.2, linewidth=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel=f"validation {comparison.first_result['config']['valid_metric']}")
    ax.grid(alpha=0.3)
    report.add_legend(fig)
    return fig


def read_curve(result: dict) -> pd.Series:
    """Return the validation scores of a run by epoch, counted from 1."""
    return pd.Series(
        {entry["epoch"] + 1: entry["valid_score"] for entry in result["history"] if "valid_score" in entry}
    )


def plot_accuracy_and_speed(comparison: Comparison, k: int) -> Figure:
    """Plot test NDCG@k against users scored per second, mean and standard deviation over seeds."""
    fig = report.new_figure()
    ax = fig.subplots()
    speeds = []
    for number, (label, results) in enumerate(comparison.results.items()):
        speed = np.array([result["users_per_second"] for result in results])
        score = comparison.test_metric(label, f"ndcg@{k}")
        ax.errorbar(
            speed.mean(),
            score.mean(),
            xerr=compute_deviation(speed),
            yerr=compute_deviation(score),
            fmt=f"C{number}o",
            capsize=3,
            label=label,
        )
        speeds.append(speed.mean())
    ax.locator_params(axis="x", nbins=5)
    if max(speeds) > 4 * min(speeds):
        ax.set_xscale("log", subs=[2, 5])
        # over more than two decades the labels of the ticks at 2 and 5 would overlap
        ax.xaxis.set_minor_formatter("{x:,.0f}" if max(speeds) < 100 * min(speeds) else "")
        ax.tick_params(axis="x", which="both", length=3.5, pad=3.5)
    ax.set(xlabel="users scored per second", ylabel=f"test NDCG@{k}")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(alpha=0.3, which="both")
    report.add_legend(fig)
    return fig


def plot_hit_rate(comparison: Comparison, k: int, grouping: str) -> Figure:
    """Plot Hit@k in groups of about equally many test targets, with standard errors over users.

    Args:
        comparison: the results.
        k: the cutoff.
        grouping: a key of :data:`GROUPINGS`. ``history`` groups by the length of the user's history, ``popularity`` by
            how often the target occurs outside the test.
    """
    fig = report.new_figure()
    ax = fig.subplots()
    popularity = comparison.popularity
    # Points of one group stand side by side, centred on the tick.
    shift = 0.6 / len(comparison.results)
    center = (len(comparison.results) - 1) / 2
    for number, label in enumerate(comparison.results):
        ranks = comparison.ranks(label)
        ranks["popularity"] = ranks["item"].map(popularity)
        # the whole history, also where it is longer than the window that the model reads
        ranks["history"] = ranks["user"].map(comparison.user_counts) - 1
        hits = (ranks["rank"] <= k).groupby([ranks["user"], ranks["item"]]).mean()
        values = ranks.groupby(["user", "item"])[grouping].first().astype(int)
        groups, names = split_into_groups(values.to_numpy())
        rate = hits.groupby(groups).agg(["mean", "sem"])
        x = rate.index + (number - center) * shift
        ax.errorbar(x, rate["mean"], rate["sem"].fillna(0), fmt="o-", linewidth=0.8, capsize=3, label=label)
    # All models are tested on the same targets, so the groups of the last one are those of all.
    sizes = pd.Series(groups).value_counts()
    ax.set_xticks(range(len(names)), [f"{name}\n({sizes[i]:,})" for i, name in enumerate(names)])
    ax.set(xlabel=f"{GROUPINGS[grouping]} (number of test users)", ylabel=f"Hit@{k}", ylim=(0, None))
    ax.grid(alpha=0.3, axis="y")
    report.add_legend(fig)
    return fig


def split_into_groups(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Divide whole numbers into at most :data:`MAX_GROUPS` ranges of about equally many values.

    Args:
        values: whole numbers, ``[n]``.

    Returns:
        The group number of each value, ``[n]``, and the name of each group: its lowest and highest value.
    """
    shares = np.linspace(0, 1, MAX_GROUPS + 1)[1:]
    # the highest value of each group
    edges = np.unique(np.quantile(values, shares, method="inverted_cdf"))
    groups = np.searchsorted(edges, values)
    names = []
    for i in range(len(edges)):
        low, high = values[groups == i].min(), values[groups == i].max()
        names.append(str(low) if low == high else f"{low} to {high}")
    return groups, names
