"""Show the trials of a search as a table and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recbole_echomamba import report
from recbole_echomamba.report import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate_trials(trials: list[dict], best: dict) -> Table:
    """Tabulate the settings and validation metrics of every trial in order, with the row of the best one marked.

    Args:
        trials: ``params, best_valid_score, best_valid_result, epochs, seconds`` of each.
        best: one of them.
    """
    names = list(best["params"])
    metrics = list(best["best_valid_result"])
    header = ["trial", *names, "valid score", *metrics, "epochs", "seconds"]
    rows = []
    for number, trial in enumerate(trials, 1):
        row = [str(number)]
        row += [_format_value(trial["params"][name]) for name in names]
        row += [f"{trial['best_valid_score']:.4f}"]
        row += [f"{trial['best_valid_result'][name]:.4f}" for name in metrics]
        row += [str(trial["epochs"]), f"{trial['seconds']:.1f}"]
        rows.append(row)
    best_row = trials.index(best)
    return Table(header, rows, {(best_row, column) for column in range(len(header))})


def plot_trials(trials: list[dict], metric: str, bigger: bool) -> Figure:
    """Plot the validation score by trial with the best so far, and the score by the value of each setting.

    Args:
        trials: ``params`` and ``best_valid_score`` of each, in order.
        metric: the name of the validation metric.
        bigger: whether a higher score is better.
    """
    names = list(trials[0]["params"])
    scores = np.array([trial["best_valid_score"] for trial in trials])
    numbers = range(1, len(scores) + 1)
    fig = report.new_figure(4 * (len(names) + 1), 3.5)
    score_ax, *setting_axes = fig.subplots(1, len(names) + 1, sharey=True)
    score_ax.plot(numbers, scores, "o")
    best_so_far = np.maximum.accumulate(scores) if bigger else np.minimum.accumulate(scores)
    score_ax.step(numbers, best_so_far, where="post", label="best so far")
    score_ax.set(xlabel="trial", ylabel=f"validation {metric}")
    score_ax.xaxis.get_major_locator().set_params(integer=True)
    score_ax.legend()
    for ax, name in zip(setting_axes, names, strict=True):
        values = [trial["params"][name] for trial in trials]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            ax.plot(values, scores, "o")
            spans_decades = min(values) > 0 and max(values) / min(values) > 10
            ax.set_xscale("log" if spans_decades else "linear")
        else:
            ax.plot([_format_value(value) for value in values], scores, "o")
        ax.set_xlabel(name)
    for ax in [score_ax, *setting_axes]:
        ax.grid(alpha=0.3)
    return fig


def _format_value(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
