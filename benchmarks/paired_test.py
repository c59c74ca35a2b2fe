"""Test runs with any settings against each other, which ``compare`` refuses where their budgets differ.

``python -m benchmarks.paired_test A=RUN,RUN B=RUN,RUN`` tests every group of runs against the first one, under both protocols. A
group holds the seeds of one model. The reader must know that the settings make a fair comparison.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import format_table
from recbole_echomamba.comparison.statistics import compare_ranks, compute_deviation
from recbole_echomamba.system.files import write_text

COLUMNS = {"rank": "test_result", "rank_unseen": "test_result_unseen"}
"""Column of the ranks to the metrics of a result: all items ranked, and seen ones left out."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", metavar="LABEL=RUN,RUN", help="run directories of each group")
    parser.add_argument("--k", type=int, default=10, help="the cutoff of NDCG (default: 10)")
    parser.add_argument("--json", metavar="FILE", help="write the figures and what the runs were made with")
    options = parser.parse_args(arguments)
    groups = {
        label: [Path(run) for run in runs.split(",")] for label, _, runs in (g.partition("=") for g in options.groups)
    }
    results = {label: [json.loads((run / "result.json").read_text()) for run in runs] for label, runs in groups.items()}
    hashes = {result["data_hash"] for each in results.values() for result in each}
    if len(hashes) > 1:
        raise SystemExit("the runs are of different data")
    figures = [figure for column in COLUMNS for figure in compare_groups(groups, results, column, options.k)]
    header = ["", "ranked", "seeds", f"NDCG@{options.k}", "to the first", "p (Holm)"]
    print(format_table(header, [describe(figure) for figure in figures]))
    if options.json:
        kept = (
            "model",
            "seed",
            "config",
            "config_hash",
            "data_hash",
            "machine",
            "versions",
            "history",
            *COLUMNS.values(),
        )
        runs = {label: [{key: result[key] for key in kept} for result in each] for label, each in results.items()}
        write_text(options.json, json.dumps({"figures": figures, "runs": runs}, indent=1, default=str) + "\n")


def compare_groups(groups: dict[str, list[Path]], results: dict[str, list[dict]], column: str, k: int) -> list[dict]:
    """Return the NDCG of each group, and its paired difference over users from the first group."""

    def read_ranks(label: str) -> pd.DataFrame:
        return pd.concat([pd.read_parquet(run / "test_ranks.parquet") for run in groups[label]])

    figures = []
    for label in groups:
        metrics = np.array([result[COLUMNS[column]][f"ndcg@{k}"] for result in results[label]])
        sd = compute_deviation(metrics)
        figures.append({"label": label, "column": column, "seeds": len(metrics), "mean": metrics.mean(), "sd": sd})
    differences = compare_ranks(groups, next(iter(groups)), read_ranks, k, column)
    for figure, difference in zip(figures[1:], differences, strict=True):
        figure["difference"] = asdict(difference)
    return figures


def describe(figure: dict) -> list:
    """Return the row of a group."""
    difference = figure.get("difference")
    return [
        figure["label"],
        "all items" if figure["column"] == "rank" else "seen left out",
        figure["seeds"],
        f"{figure['mean']:.4f} ± {figure['sd']:.4f}",
        f"{difference['mean']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})" if difference else "",
        f"{difference['p']:.2g}" if difference else "",
    ]


if __name__ == "__main__":
    main()
