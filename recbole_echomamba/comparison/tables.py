"""Tabulate the results of a comparison. To add a column to the report, add an entry to :data:`COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from recbole.evaluator import smaller_metrics

from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.statistics import Difference, compute_deviation, format_p
from recbole_echomamba.report import Table


@dataclass
class Column:
    """A measurement of every run: a column of the cost table (the mean over seeds) and of ``runs.csv`` (as it is).

    Attributes:
        key: the entry of ``result.json``; also the name of the column in ``runs.csv``, where epochs count from 1.
        heading: the name of the column in the cost table.
        layout: how the cost table writes the mean, as a format specification.
        measure: computes the number for the cost table from a result, where that is not the entry ``key`` itself.
    """

    key: str
    heading: str
    layout: str
    measure: Callable[[dict], float] | None = None

    def format_mean(self, results: list[dict]) -> str:
        """Return the cell of the cost table for the results of all seeds."""
        values = [self.measure(result) if self.measure else result[self.key] for result in results]
        return format(np.mean(values), self.layout)


def find_best_epoch(result: dict) -> int | None:
    """Return the best epoch counted from 1; ``result.json`` counts from 0."""
    return result["best_epoch"] + 1 if "best_epoch" in result else None


def compute_epoch_seconds(result: dict) -> float:
    """Compute the median duration of an epoch in seconds: an epoch that other work disturbed does not count."""
    return np.median([entry["seconds"] for entry in result["history"]])


COLUMNS = [
    Column("parameters", "parameters", ",.0f"),
    Column("best_epoch", "best epoch", ".3g", find_best_epoch),
    Column("epochs", "epochs", ".3g"),
    Column("seconds_per_epoch", "s/epoch", ".2f", compute_epoch_seconds),
    Column("users_per_second", "users/s", ",.0f"),
    Column("peak_memory", "peak memory (MB)", ",.0f", lambda result: result["peak_memory"] / 1e6),
]
"""The columns of the cost table, and of ``runs.csv`` between the hashes and the machine. The entries of ``result.json`` are
written by :func:`recbole_echomamba.experiment.run`; in ``runs.csv`` a run without an entry gets an empty cell."""


def tabulate_metrics(comparison: Comparison, part: str = "test_result") -> Table:
    """Tabulate mean and standard deviation of every test metric over the seeds, a column per label; mark the best means.

    Args:
        comparison: the results.
        part: the entry of ``result.json`` with the metrics: ``test_result`` or ``test_result_unseen``.
    """
    labels = list(comparison.results)
    rows = []
    best = set()
    for number, name in enumerate(comparison.first_result[part]):
        values = [comparison.test_metric(label, name, part) for label in labels]
        rows.append([name, *map(_format_spread, values)])
        if len(labels) > 1:
            means = np.array([value.mean() for value in values])
            top = means.min() if name.partition("@")[0] in smaller_metrics else means.max()
            # the first column holds the names of the metrics
            best |= {(number, column + 1) for column in np.flatnonzero(means == top)}
    return Table(["metric", *labels], rows, best)


def tabulate_costs(comparison: Comparison) -> Table:
    """Tabulate parameters, time and memory of every row, as means over the seeds; see :data:`COLUMNS`."""
    header = ["model", *(column.heading for column in COLUMNS)]
    rows = []
    for label, results in comparison.results.items():
        rows.append([label, *(column.format_mean(results) for column in COLUMNS)])
    return Table(header, rows)


def tabulate_differences(differences: list[Difference], baseline: str, k: int) -> Table:
    """Tabulate the difference of each row from the baseline in NDCG@k per user."""
    header = [f"against {baseline}", f"NDCG@{k} difference", "95% interval", "p (Holm)", "effect size d"]
    rows = []
    for d in differences:
        interval = f"{d.low:+.4f} to {d.high:+.4f}"
        rows.append([d.label, f"{d.mean:+.4f}", interval, format_p(d.p), f"{d.effect:+.3f}"])
    return Table(header, rows)


def tabulate_runs(comparison: Comparison) -> Table:
    """Tabulate every number of every run, one row per run, for ``runs.csv``."""
    keys = ["variant", "seed", "config_hash", "data_hash", *(column.key for column in COLUMNS)]
    machine_keys = ["processor", "gpu", "threads"]
    valid_names = list(comparison.first_result["best_valid_result"])
    test_names = list(comparison.first_result["test_result"])
    unseen_names = list(comparison.first_result.get("test_result_unseen", {}))
    header = ["label", "model", *keys, *machine_keys]
    header += [f"valid {name}" for name in valid_names]
    header += [f"test {name}" for name in test_names]
    header += [f"test {name} unseen" for name in unseen_names]
    rows = []
    for label, results in comparison.results.items():
        for result in results:
            entries = {**result, "best_epoch": find_best_epoch(result)}
            row = [label, result["model"], *(entries.get(key) for key in keys)]
            row += [result.get("machine", {}).get(key) for key in machine_keys]
            row += [result["best_valid_result"].get(name) for name in valid_names]
            row += [result["test_result"][name] for name in test_names]
            row += [result.get("test_result_unseen", {}).get(name) for name in unseen_names]
            rows.append(row)
    return Table(header, rows)


def tabulate_summary(comparison: Comparison, differences: list[Difference]) -> Table:
    """Tabulate test metrics and the test against the baseline as numbers, one row per label, for ``summary.csv``."""
    names = list(comparison.first_result["test_result"])
    by_label = {difference.label: difference for difference in differences}
    header = ["label", "seeds"]
    for name in names:
        header += [f"{name} mean", f"{name} sd"]
    header += ["baseline", "difference", "low", "high", "p_holm", "effect_size"]
    rows = []
    for label, results in comparison.results.items():
        row = [label, len(results)]
        for name in names:
            values = comparison.test_metric(label, name)
            row += [values.mean(), compute_deviation(values)]
        d = by_label.get(label)
        row += [comparison.baseline, d.mean, d.low, d.high, d.p, d.effect] if d else [""] * 6
        rows.append(row)
    return Table(header, rows)


def tabulate_run_overview(comparison: Comparison) -> Table:
    """Tabulate what identifies each run and its best epoch, for the end of the page."""
    valid_metric = comparison.first_result["config"]["valid_metric"]
    header = ["run", "seed", "settings", "best epoch", "epochs", f"validation {valid_metric}"]
    rows = []
    for label, results in comparison.results.items():
        for result in results:
            cells = [
                result["seed"],
                result["config_hash"],
                find_best_epoch(result),
                result["epochs"],
                f"{result['best_valid_score']:.4f}",
            ]
            rows.append([label, *map(str, cells)])
    return Table(header, rows)


def _format_spread(values: np.ndarray) -> str:
    mean = f"{values.mean():.4f}"
    return f"{mean} ± {compute_deviation(values):.4f}" if len(values) > 1 else mean
