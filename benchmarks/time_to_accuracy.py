"""Race models to a validation NDCG@10: ``python -m benchmarks.time_to_accuracy --budget 3600 --every 60``.

Every contender trains in a process of its own, which measures validation NDCG@10 after every so many CPU seconds of training and
at the end of each epoch, does not count the measuring, and appends each measurement to its curve file. The script runs the
contenders without a complete curve, then draws all curves and prints when each reached which NDCG@10.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import race_report
from benchmarks.fresh_process import call_in_fresh_process
from benchmarks.learning_curve import LearningCurve
from recbole_echomamba.system.hardware import list_versions, read_processor_name

ALL_POSITIONS = {
    "train_positions": "all",
    "num_layers": 2,
    "train_batch_size": 2048,
    "learning_rate": 0.002,
    "lr_schedule": "cosine",
    "lr_warmup": 0.05,
}
CAUSAL = {**ALL_POSITIONS, "causal": True, "pairs_per_block": 1}
PREFIXES = {"train_batch_size": 512}

CONTENDERS = {
    "Mamba4Rec all positions": ("Mamba4Rec", ALL_POSITIONS),
    "Mamba4Rec all positions, times": ("Mamba4Rec", {**ALL_POSITIONS, "time_gaps": True}),
    "EchoMamba4Rec causal all positions": ("EchoMamba4Rec", CAUSAL),
    "EchoMamba4Rec causal all positions, times": ("EchoMamba4Rec", {**CAUSAL, "time_gaps": True}),
    "EchoMamba4Rec prefixes": ("EchoMamba4Rec", PREFIXES),
    "RecBole SASRec": ("SASRec", PREFIXES),
    "RecBole GRU4Rec": ("GRU4Rec", PREFIXES),
}
"""Name to the model and its settings beside the defaults. RecBole's models train through our data, loaders and Trainer."""

RECTOOLS = "RecTools SASRec"

WARM_UP_STEPS, TIMED_STEPS = 5, 25
BUDGET_SHARE = 0.95
"""Share of the budget that a learning rate schedule is planned for."""


def main(arguments: list[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)
    options.data_path, options.out = str(Path(options.data_path).resolve()), Path(options.out).resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    # libraries read it when a new process imports them
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    failed = []
    for name in options.contenders:
        if is_complete(curve_path(options, name), options):
            print(f"{name}: complete", flush=True)
            continue
        curve_path(options, name).unlink(missing_ok=True)
        try:
            if name == RECTOOLS:
                train_rectools(options)
            else:
                print(f"{name}: training", flush=True)
                call_in_fresh_process(train, options, name)
        except Exception as error:
            # such as too little memory; the others train all the same
            print(f"{name}: failed, {error!r}", flush=True)
            failed.append(name)
    curves = {name: read_curve(curve_path(options, name)) for name in options.contenders}
    curves = {name: curve for name, curve in curves.items() if len(curve) > 1}
    race = ", ".join(f"{key} {value}" for key, value in race_settings(options).items() if value is not None)
    race_report.write_report(curves, race, options.levels, options.out)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the same command trains them again")


def make_parser() -> argparse.ArgumentParser:
    names = [*CONTENDERS, RECTOOLS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m", help="name of a prepared dataset (default: ml-1m)")
    parser.add_argument("--data_path", default="dataset", help="folder that holds it (default: dataset)")
    parser.add_argument("--budget", type=float, default=3600, help="CPU seconds of training (default: 3600)")
    parser.add_argument("--every", type=float, default=60, help="CPU seconds between measurements (default: 60)")
    parser.add_argument("--contenders", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--threads", type=int, default=1, help="threads of every process (default: 1)")
    parser.add_argument(
        "--epochs",
        type=int,
        help="epochs of the contenders with a learning rate schedule (default: as many as fit the budget, by timed steps)",
    )
    parser.add_argument("--seed", type=int, default=2020, help="(default: 2020)")
    parser.add_argument(
        "--levels", nargs="+", type=float, default=race_report.LEVELS, help="NDCG@10 to reach, for the table"
    )
    parser.add_argument(
        "--rectools-env",
        default=".venv-rectools",
        metavar="FOLDER",
        help="virtual environment with RecTools, made if it does not exist (default: .venv-rectools)",
    )
    parser.add_argument("--out", default="results/time-to-accuracy", help="folder of the curves, plot and table")
    return parser


def race_settings(options: argparse.Namespace) -> dict:
    """Return the settings that must be the same for all curves of a race."""
    return {key: getattr(options, key) for key in ("dataset", "budget", "every", "epochs", "threads", "seed")}


def curve_path(options: argparse.Namespace, name: str) -> Path:
    """Return the curve file of a contender."""
    return options.out / (name.lower().replace(",", "").replace(" ", "-") + ".jsonl")


def make_header(options: argparse.Namespace, name: str) -> dict:
    """Return the first line of a curve file."""
    return {
        "contender": name,
        "race": race_settings(options),
        "processor": read_processor_name(),
    }


def read_curve(path: Path) -> list[dict]:
    """Return the lines of a curve file, none if it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_complete(path: Path, options: argparse.Namespace) -> bool:
    """Return whether a contender has finished; exit if it has done so in a race with other settings."""
    curve = read_curve(path)
    if not curve or "done" not in curve[-1]:
        return False
    if curve[0]["race"] != race_settings(options):
        raise SystemExit(f"{path} is from another race, {curve[0]['race']}; name another --out, or remove the file")
    return True


def make_config(options: argparse.Namespace, name: str, epochs: int | None = None):
    """Return the configuration of one of :data:`CONTENDERS`."""
    from recbole_echomamba import Config

    model, settings = CONTENDERS[name]
    common = {
        "data_path": options.data_path,
        "seed": options.seed,
        "use_gpu": False,
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        # attention over more histories than this needs gigabytes
        "eval_batch_size": 512,
        "show_progress": False,
    }
    if epochs is not None:
        common["epochs"] = epochs
    return Config(model, options.dataset, config_dict={**common, **settings})


def train(options: argparse.Namespace, name: str) -> None:
    """Train one of :data:`CONTENDERS` until its budget or its schedule ends, and write its curve file."""
    from recbole_echomamba import Trainer
    from recbole_echomamba.experiment import build
    from recbole_echomamba.training.schedule import schedule_learning_rate

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        # RecBole's Trainer makes folders in the working directory
        os.chdir(folder)
        epochs = None
        if "lr_schedule" in CONTENDERS[name][1]:
            epochs = options.epochs or estimate_epochs(options, name)
        config = make_config(options, name, epochs)
        built = build(config)
        trainer = Trainer(config, built.model)
        trainer.eval_collector.data_collect(built.train)
        schedule_learning_rate(config, trainer.optimizer, config["epochs"] * len(built.train))

        def rank_targets() -> tuple[np.ndarray, np.ndarray]:
            trainer.evaluate(built.valid, load_best_model=False)
            built.model.train()
            ranks = trainer.eval_collector.ranks()
            return ranks["rank"], ranks["rank_unseen"]

        header = {**make_header(options, name), "epochs": epochs, "versions": list_versions()}
        curve = LearningCurve(curve_path(options, name), header, options.every, options.budget, rank_targets)
        curve.finish(run_epochs(trainer, built.train, epochs, curve))
        # Windows does not remove the working directory of a process
        os.chdir(options.out)


def run_epochs(trainer, loader, epochs: int | None, curve: LearningCurve) -> str:
    """Train for a number of epochs, or without end, until the budget of the curve is spent; return what ended it."""
    trainer.model.train()
    curve.start()
    for _ in range(epochs) if epochs else itertools.count():
        for interaction in loader:
            train_step(trainer, interaction)
            if curve.end_step():
                return "budget"
        curve.end_epoch()
    return "epochs"


def train_step(trainer, interaction) -> None:
    """Run forward, backward and the optimizer."""
    trainer.optimizer.zero_grad()
    trainer.model.calculate_loss(interaction).backward()
    trainer.optimizer.step()


def estimate_epochs(options: argparse.Namespace, name: str) -> int:
    """Return how many epochs fit into the budget, from the CPU seconds of a few steps of a model that is then dropped."""
    from recbole_echomamba import Trainer
    from recbole_echomamba.experiment import build

    config = make_config(options, name)
    built = build(config)
    trainer = Trainer(config, built.model)
    trainer.model.train()
    batches = repeat_batches(built.train)
    for interaction in itertools.islice(batches, WARM_UP_STEPS):
        train_step(trainer, interaction)
    begin = time.process_time()
    for interaction in itertools.islice(batches, TIMED_STEPS):
        train_step(trainer, interaction)
    seconds_per_epoch = (time.process_time() - begin) / TIMED_STEPS * len(built.train)
    epochs = max(1, int(BUDGET_SHARE * options.budget / seconds_per_epoch))
    print(f"{name}: about {seconds_per_epoch:.1f} CPU seconds an epoch, {epochs} epochs", flush=True)
    return epochs


def repeat_batches(loader) -> Iterator:
    """Yield the batches of a loader, epoch after epoch."""
    while True:
        yield from loader


def train_rectools(options: argparse.Namespace) -> None:
    """Train RecTools' SASRec on the same interactions in its own environment; print a line where that is not possible."""
    python = find_rectools(Path(options.rectools_env).resolve())
    if python is None:
        return
    print(f"{RECTOOLS}: training", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        interactions = Path(folder) / "interactions.csv"
        length = call_in_fresh_process(export_interactions, options, interactions)
        command = [python, "-m", "benchmarks.rectools_sasrec", interactions, curve_path(options, RECTOOLS)]
        command += ["--header", json.dumps(make_header(options, RECTOOLS)), "--length", length]
        for key in ("every", "budget", "threads", "seed"):
            command += [f"--{key}", getattr(options, key)]
        # glibc keeps freed memory in this process too, as our Trainer has it do for every other contender
        environment = {**os.environ, "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
        root = Path(__file__).parent.parent
        subprocess.run([str(part) for part in command], check=True, cwd=root, env=environment)


def find_rectools(folder: Path) -> Path | None:
    """Return the Python of a virtual environment with RecTools, and make the environment if need be.

    It gets the release of torch that this process uses. Returns ``None`` after a line that says why it cannot be made.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and subprocess.run([python, "-c", "import rectools, torch"]).returncode == 0:
        return python
    print(f"{RECTOOLS}: installing it into {folder}", flush=True)
    release = torch.__version__.partition("+")[0]
    install = [python, "-m", "pip", "install", "--quiet", "rectools[torch]", f"torch=={release}"]
    for command in ([sys.executable, "-m", "venv", folder], install):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            print(f"{RECTOOLS}: skipped, it cannot be installed: {reason}", flush=True)
            return None
    return python


def export_interactions(options: argparse.Namespace, path: Path) -> int:
    """Write the interactions that our models train and are validated on, in our order, and return the history length.

    The columns are ``user_id, item_id, datetime, part``. The times are row numbers: they keep the order of rows whose real times
    are equal after RecBole's rounding.
    """
    from recbole_echomamba.experiment import build

    config = make_config(options, "RecBole SASRec")
    built = build(config)
    samples = built.train.dataset.inter_feat
    part = np.full(len(samples.flat[config["USER_ID_FIELD"]]), "train", dtype=object)
    part[built.valid.dataset.inter_feat.targets.numpy()] = "valid"
    part[built.test.dataset.inter_feat.targets.numpy()] = "test"
    users, items = (samples.flat[config[field]].tolist() for field in ("USER_ID_FIELD", "ITEM_ID_FIELD"))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "datetime", "part"])
        writer.writerows(zip(users, items, range(len(part)), part, strict=True))
    return config["MAX_ITEM_LIST_LENGTH"]


if __name__ == "__main__":
    main()
