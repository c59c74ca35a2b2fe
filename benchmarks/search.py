"""Compare Optuna and Hyperopt on one search: the same model, space and number of trained epochs: ``python -m benchmarks.search``.

Both propose by trees of Parzen estimators. Optuna also ends weak trials early, and makes more of them with the same epochs.
A part of ml-100k is searched, the users with 20 to 60 interactions, and only validated.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import timing
from recbole_echomamba.tuning import hyperopt_search, optuna_search
from recbole_echomamba.tuning.objective import Objective
from recbole_echomamba.tuning.search_space import read_space

SETTINGS = {
    "train_positions": "all",
    "user_inter_num_interval": "[20,60]",
    "item_inter_num_interval": "[5,inf)",
    "train_batch_size": 256,
    "stopping_step": 100,
}
SPACE = """\
learning_rate loguniform -9,-3
dropout_prob uniform 0,0.6
weight_decay loguniform -16,-5
hidden_size choice [16,32,64]
d_state choice [8,16]
num_layers choice [1,2]
"""
UNBOUNDED = 10_000
SHARES = [0.25, 0.5, 1]
"""The parts of the budget after which the best score is shown."""


class BudgetSpent(Exception):
    """All epochs are trained: the search ends."""


class LimitedObjective:
    """Train trials until a number of epochs is trained in all, and keep the best score after each epoch."""

    def __init__(self, objective: Objective, budget: int):
        self.objective = objective
        self.budget = budget
        self.trials = 0
        self.best: list[float] = []

    def __call__(self, params: dict, report=None) -> dict:
        """Train a trial, see :class:`.Objective`."""
        self.trials += 1

        def after_epoch(result: dict) -> None:
            self.best.append(max([result["best_valid_score"], *self.best[-1:]]))
            if len(self.best) == self.budget:
                raise BudgetSpent
            if report is not None:
                report(result)

        return self.objective(params, after_epoch)


def search(tool: str, seed: int, options: argparse.Namespace, folder: Path) -> dict:
    """Return the best validation NDCG@10 at each share of the budget, and the number of trials that were begun."""
    (folder / "space.hyper").write_text(SPACE)
    space = read_space(folder / "space.hyper")
    settings = {**SETTINGS, "seed": seed, "epochs": options.epochs}
    limited = LimitedObjective(Objective(options.model, "ml-100k", [], settings), options.budget)
    if tool == "Optuna":
        found = optuna_search.Search(limited, space, folder, "bayes", UNBOUNDED, UNBOUNDED, seed, maximize=True)
    else:
        found = hyperopt_search.Search(limited, space, folder / "trials.jsonl", "bayes", UNBOUNDED, UNBOUNDED, seed)
    started = time.process_time()
    try:
        found.run()
    except BudgetSpent:
        scores = [limited.best[int(share * options.budget) - 1] for share in SHARES]
        cpu = time.process_time() - started
        return {"tool": tool, "seed": seed, "best": scores, "trials": limited.trials, "cpu_seconds": round(cpu, 1)}
    raise RuntimeError("the search ended before its budget was spent")


def tabulate(figures: list[dict]) -> str:
    """Return a Markdown table of the searches, with the mean of each tool."""
    lines = ["| tool | seed | a quarter | half | all epochs | trials | CPU s |", "|---|---|---|---|---|---|---|"]
    for tool in dict.fromkeys(entry["tool"] for entry in figures):
        own = [entry for entry in figures if entry["tool"] == tool]
        rows = [[entry["seed"], *entry["best"], entry["trials"], entry["cpu_seconds"]] for entry in own]
        rows.append(["mean", *(statistics.mean(column) for column in list(zip(*rows, strict=True))[1:])])
        for seed, *scores, trials, seconds in rows:
            cells = [tool, seed, *(f"{score:.4f}" for score in scores), f"{trials:.0f}", f"{seconds:.0f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Mamba4Rec")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=8, help="epochs of a trial, at most (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=160, help="epochs of a search, at least 4 (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.set_defaults(device="cpu")
    options = parser.parse_args()
    # both tools log the end of the budget as an error
    logging.disable()
    figures = []
    for seed in options.seeds:
        for tool in ("Hyperopt", "Optuna"):
            with tempfile.TemporaryDirectory() as folder:
                figures.append(search(tool, seed, options, Path(folder)))
            print(json.dumps(figures[-1]), flush=True)
    print(tabulate(figures))
    timing.write_figures(options.json, options, figures)


if __name__ == "__main__":
    main()
