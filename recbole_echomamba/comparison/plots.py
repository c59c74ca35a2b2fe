"""The plots of a comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_echomamba import report
from recbole_echomamba.comparison.compare import Comparison

GROUPS = 5


def learning_curves(comparison: Comparison):
    """Validation score by epoch."""
    drawn = report.figure()
    axes = drawn.subplots()
    for number, (label, results) in enumerate(comparison.results.items()):
        for seed, result in enumerate(results):
            history = [entry for entry in result["history"] if "valid_score" in entry]
            epochs, scores = ([entry[key] for entry in history] for key in ("epoch", "valid_score"))
            axes.plot(epochs, scores, f"C{number}", alpha=0.7, linewidth=1.3, label=None if seed else label)
            axes.plot(result["best_epoch"], result["best_valid_score"], f"C{number}o", markersize=5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel=f"validation {comparison.first['config']['valid_metric']}")
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def accuracy_and_speed(comparison: Comparison, k: int):
    """NDCG against users per second."""
    drawn = report.figure()
    axes = drawn.subplots()
    for number, (label, results) in enumerate(comparison.results.items()):
        speed = np.array([result["users_per_second"] for result in results])
        score = comparison.test_metric(label, f"ndcg@{k}")
        axes.errorbar(
            *(speed.mean(), score.mean(), deviation(score), deviation(speed)),
            *(f"C{number}o",),
            capsize=3,
            label=label,
        )
    axes.set(xscale="log", xlabel="users scored per second", ylabel=f"test NDCG@{k}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:,.0f}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return drawn


def hit_rate_by(comparison: Comparison, k: int, column: str):
    """Hit rate in groups of about equally many test targets, by ``history`` length or ``popularity`` of the target."""
    drawn = report.figure()
    axes = drawn.subplots()
    shift, popularity = 0.6 / len(comparison.results), comparison.popularity
    for number, label in enumerate(comparison.results):
        ranks = comparison.ranks(label)
        ranks["popularity"] = ranks["item"].map(popularity)
        ranks["history"] = ranks["user"].map(comparison.user_counts) - 1  # beyond the slots a model sees, too
        targets = (ranks["rank"] <= k).groupby([ranks["user"], ranks["item"]]).mean()
        values = ranks.groupby(["user", "item"])[column].first().astype(int)
        groups, names = grouped(values.to_numpy())
        rate = targets.groupby(groups).agg(["mean", "sem"])
        places = rate.index + (number - (len(comparison.results) - 1) / 2) * shift
        axes.errorbar(places, rate["mean"], rate["sem"].fillna(0), fmt="o-", linewidth=0.8, capsize=3, label=label)
    sizes = pd.Series(groups).value_counts()
    axes.set_xticks(range(len(names)), [f"{name}\n({sizes[i]:,} targets)" for i, name in enumerate(names)])
    xlabel = {"history": "interactions before the target", "popularity": "interactions of the target item"}[column]
    axes.set(xlabel=xlabel, ylabel=f"Hit@{k}", ylim=(0, None))
    axes.grid(alpha=0.3, axis="y")
    axes.legend()
    return drawn


def grouped(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Whole numbers in at most ``GROUPS`` groups of about equal size: the group of each, and the groups' names."""
    edges = np.unique(
        np.quantile(values, np.linspace(0, 1, GROUPS + 1)[1:], method="inverted_cdf")
    )  # last value of each
    groups = np.searchsorted(edges, values)
    ranges = [(values[groups == i].min(), values[groups == i].max()) for i in range(len(edges))]
    return groups, [str(low) if low == high else f"{low} to {high}" for low, high in ranges]


def deviation(values: np.ndarray) -> float:
    """The standard deviation over seeds; 0 for a single one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
