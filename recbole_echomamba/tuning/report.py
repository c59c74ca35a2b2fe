"""A search as a table and a plot of its trials."""

from __future__ import annotations

import numpy as np

from recbole_echomamba import report
from recbole_echomamba.report import Table


def trials_table(trials: list[dict], best: dict) -> Table:
    """Every trial's settings and validation metrics, in the order they were made; the best is marked."""
    names, metrics = list(best["params"]), list(best["best_valid_result"])
    header = ["trial", *names, "valid score", *metrics, "epochs", "seconds"]
    rows = [
        [
            *(str(number), *(_short(trial["params"][name]) for name in names), f"{trial['best_valid_score']:.4f}"),
            *(f"{trial['best_valid_result'][name]:.4f}" for name in metrics),
            *(str(trial["epochs"]), f"{trial['seconds']:.1f}"),
        ]
        for number, trial in enumerate(trials, 1)
    ]
    place = trials.index(best)
    return Table(header, rows, {(place, column) for column in range(len(header))})


def draw_trials(trials: list[dict], metric: str, bigger: bool):
    """The score by trial with the best so far, and the score by each setting."""
    names = list(trials[0]["params"])
    scores = np.array([trial["best_valid_score"] for trial in trials])
    drawn = report.figure(4 * (len(names) + 1), 3.5)
    first, *others = drawn.subplots(1, len(names) + 1, sharey=True)
    first.plot(range(1, len(scores) + 1), scores, "o")
    so_far = np.maximum.accumulate(scores) if bigger else np.minimum.accumulate(scores)
    first.step(range(1, len(scores) + 1), so_far, where="post", label="best so far")
    first.set(xlabel="trial", ylabel=f"validation {metric}")
    first.xaxis.get_major_locator().set_params(integer=True)
    first.legend()
    for axes, name in zip(others, names, strict=True):
        values = [trial["params"][name] for trial in trials]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            axes.plot(values, scores, "o")
            axes.set_xscale("log" if min(values) > 0 and max(values) / min(values) > 10 else "linear")
        else:
            axes.plot([_short(value) for value in values], scores, "o")
        axes.set_xlabel(name)
    for axes in (first, *others):
        axes.grid(alpha=0.3)
    return drawn


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
