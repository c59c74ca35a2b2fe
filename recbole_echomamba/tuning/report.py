"""Show the trials of a search as a table, a plot and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dataset_prep.words import count
from recbole_echomamba import report
from recbole_echomamba.report import Table
from recbole_echomamba.tuning.search_space import Range, convert_to_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LABEL_CHARACTERS = 24
"""The labels of the choices of a setting are turned upright where they have more characters together."""


EDGE = 0.05
"""A best value that is closer to an end of its range than this share of the range suggests to widen it."""

PLOT_CAPTION = (
    "Validation score by trial, with the best so far, and by the value of each setting. The star is the best trial in every "
    "plot. Choices have a line at the median of their trials: where these lines differ little, the setting matters little."
)


def tabulate_trials(trials: list[dict], best: dict, with_metrics: bool = True) -> Table:
    """Tabulate the settings and validation metrics of every trial in order, with the row of the best one marked.

    Args:
        trials: ``params, best_valid_score, best_valid_result, epochs, seconds`` of each.
        best: one of them.
        with_metrics: whether to list all metrics, not only the validation score.
    """
    names = list(best["params"])
    metrics = list(best["best_valid_result"]) if with_metrics else []
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


def render_search(
    title: str, trials: list[dict], metric: str, space: dict[str, Range], plot: bytes, result: dict
) -> str:
    """Return an HTML page on a search, which begins with its best settings.

    Args:
        title: the title of the page.
        trials: see :func:`tabulate_trials`.
        metric: the name of the validation metric.
        space: the range of each setting.
        plot: the bytes of the picture of :func:`plot_trials`.
        result: the result of the run with the best settings, see :func:`.experiment.run`.
    """
    best = find_best(trials, result["valid_score_bigger"])
    headline = (
        f"The best of {count(len(trials), 'trial')} has a validation {metric} of {best['best_valid_score']:.4f}: "
    )
    headline += f"{_list_settings(best['params'])}."
    scores = [trial["best_valid_score"] for trial in trials]
    details = [f"The trials have a median of {np.median(scores):.4f}, the worst {_find_worst(scores, result):.4f}."]
    tested = result["test_result"].get(metric.lower())
    if tested is not None:
        details.append(
            f"The model with these settings has a test {metric} of {tested:.4f}. The test part was used for it alone, once."
        )
    details += [
        f"The best {name}, {_format_value(best['params'][name])}, is at an end of its range: a wider one may have better values."
        for name in find_edges(best["params"], space)
    ]
    return report.render_page(
        title,
        report.render_verdict(headline, details),
        f"<p>{report.state_date()}</p>\n",
        report.render_section("Scores"),
        report.render_image(plot, PLOT_CAPTION),
        report.render_section("Trials"),
        tabulate_trials(trials, best, with_metrics=False).to_html(),
    )


def find_best(trials: list[dict], bigger: bool) -> dict:
    """Return the trial with the best validation score."""
    return (max if bigger else min)(trials, key=lambda trial: trial["best_valid_score"])


def find_edges(params: dict, space: dict[str, Range]) -> list[str]:
    """Return the settings whose value is at an end of a range of numbers, within :data:`EDGE` of it."""
    edges = []
    for name, each in space.items():
        if each.kind == "choice":
            continue
        low, high = each.values[:2]
        value = np.log(params[name]) if each.kind == "loguniform" else params[name]
        if min(value - low, high - value) <= EDGE * (high - low):
            edges.append(name)
    return edges


def _find_worst(scores: list[float], result: dict) -> float:
    return min(scores) if result["valid_score_bigger"] else max(scores)


def _list_settings(params: dict) -> str:
    return ", ".join(f"{name} {_format_value(value)}" for name, value in params.items())


def plot_trials(trials: list[dict], metric: str, bigger: bool, space: dict[str, Range]) -> Figure:
    """Plot the validation score by trial with the best so far, and the score by the value of each setting.

    A choice has its values side by side in the order of the space, numbers too, each with a line at the median of its trials.
    The best trial is a star in every plot.

    Args:
        trials: ``params`` and ``best_valid_score`` of each, in order.
        metric: the name of the validation metric.
        bigger: whether a higher score is better.
        space: the range of each setting.
    """
    scores = np.array([trial["best_valid_score"] for trial in trials])
    best = scores.argmax() if bigger else scores.argmin()
    names = list(trials[0]["params"])
    columns = 2
    rows = -(-(len(names) + 1) // columns)
    fig = report.new_figure(3 * columns, 2.7 * rows)
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False)
    score_ax, *setting_axes = axes.flat
    best_so_far = np.maximum.accumulate(scores) if bigger else np.minimum.accumulate(scores)
    numbers = np.arange(1, len(scores) + 1)
    score_ax.step(numbers, best_so_far, "C1", where="post", label="best so far")
    _plot_scores(score_ax, numbers, scores, best)
    score_ax.set_xlabel("trial")
    score_ax.xaxis.get_major_locator().set_params(integer=True)
    for ax, name in zip(setting_axes, names, strict=False):
        values = [trial["params"][name] for trial in trials]
        if space[name].kind == "choice":
            values = _place_choices(ax, values, space[name].values)
            for place in np.unique(values):
                ax.hlines(np.median(scores[values == place]), place - 0.3, place + 0.3, "C0", label="median")
        elif space[name].kind == "loguniform":
            ax.set_xscale("log")
        _plot_scores(ax, values, scores, best)
        ax.set_xlabel(name)
    for ax in setting_axes[len(names) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(f"validation {metric}")
    report.add_legend(fig)
    return fig


def _plot_scores(ax, values, scores: np.ndarray, best: int) -> None:
    ax.plot(values, scores, "C0o", alpha=0.6, label="trial")
    ax.plot(values[best], scores[best], "C3*", markersize=12, label="best trial")
    ax.grid(alpha=0.3)


def _place_choices(ax, values: list, choices: list) -> np.ndarray:
    """Label the x axis with the choices and return the place of each value on it."""
    labels = [_format_value(convert_to_plain({"": choice})[""]) for choice in choices]
    ax.set_xticks(range(len(labels)), labels)
    if sum(map(len, labels)) > MAX_LABEL_CHARACTERS:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    return np.array([labels.index(_format_value(value)) for value in values])


def _format_value(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
