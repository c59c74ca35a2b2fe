"""Show the result of a run: its metrics, its warnings, and the commands to continue with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dataset_prep.words import count


def format_result(result: dict) -> str:
    """Return the warnings and the metrics of a run, with its cost and its directory.

    Args:
        result: what :func:`recbole_echomamba.experiment.run` returns.
    """
    title = f"{result['model']} on {result['dataset']}, seed {result['seed']}, settings {result['config_hash']}"
    cost = f"{result['seconds_per_epoch']:.1f} s per epoch"
    directory = f"saved in {result['run_directory']}"
    lines = [format_warnings(result.get("warnings", []))]
    if result["test_result"]:
        best = f"best after {result['best_epoch'] + 1} of {count(result['epochs'], 'epoch')}"
        speed = f"{result['users_per_second']:.0f} users/s tested"
        lines += [f"{title}: {best}, {cost}, {speed}", _draw_metrics(result)]
    else:
        lines += [f"{title}: {count(result['epochs'], 'epoch')}, {cost}; there is no test part"]
    return "\n".join([*lines, directory])


def format_warnings(warnings: list[str]) -> str:
    """Return warnings, one in a line, under a heading; nothing if there are none."""
    if not warnings:
        return ""
    return "\n".join([f"\n{count(len(warnings), 'warning')}:", *(f"- {text}" for text in warnings), ""])


def format_next_commands(result: dict, model: str) -> str:
    """Return what to do with a trained run: the commands to recommend, to inspect, and to compare.

    Args:
        result: what :func:`recbole_echomamba.experiment.run` returns.
        model: how the model is named, which is ``module:Class`` for a custom one.
    """
    python = f"{_find_python()} -m recbole_echomamba"
    directory, dataset = result["run_directory"], result["dataset"]
    other = "SASRec" if result["model"] != "SASRec" else "EchoMamba4Rec"
    return "\n".join(
        [
            "next:",
            f"  {python} recommend --run={directory} --all --topk=10 --out=top.csv",
            f"  {python} inspect {directory}",
            f"  {python} compare --models={model},{other} --dataset={dataset}",
        ]
    )


def _draw_metrics(result: dict) -> str:
    from texttable import Texttable

    table = Texttable()
    table.set_deco(Texttable.HEADER)
    table.set_cols_dtype(["t", "t", "t"])
    table.set_cols_align(["l", "r", "r"])
    table.add_row(["metric", "best valid", "test"])
    for name, value in result["test_result"].items():
        table.add_row([name, str(result["best_valid_result"].get(name, "")), str(value)])
    return table.draw()


def _find_python() -> str:
    """Return how to call this interpreter: by its name if the shell finds it, else by its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
