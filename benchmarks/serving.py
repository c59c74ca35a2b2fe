"""Time recommendations as a program asks for them: ``python -m benchmarks.serving``.

For models with their first weights, at the sizes of ML-1M: one full history through a :class:`Recommender`, with RecBole's SASRec
(two layers) for comparison; the same history through onnxruntime, by the exported file; the bytes of that file beside the item
matrix. Then many histories from a file against one call each. Times are medians of processor time, which other processes disturb
least, of calls that take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import format_table
from recbole_echomamba import Config, Recommender, get_model
from recbole_echomamba.data.vocabulary import write_vocabulary
from recbole_echomamba.export import export
from recbole_echomamba.recommendation.files import read_histories
from recbole_echomamba.training.checkpoint import save_weights
from recbole_echomamba.training.run_directory import WEIGHTS_FILE, write_settings

BASELINE = "SASRec"

MODELS = {
    BASELINE: ("SASRec", {}),
    "Mamba4Rec": ("Mamba4Rec", {}),
    "Mamba4Rec, two layers": ("Mamba4Rec", {"num_layers": 2}),
    "EchoMamba4Rec": ("EchoMamba4Rec", {}),
    "EchoMamba4Rec, causal": ("EchoMamba4Rec", {"causal": True}),
    "EchoMamba4Rec, two blocks": ("EchoMamba4Rec", {"num_layers": 2}),
    "EchoMamba4Rec, causal, two blocks": ("EchoMamba4Rec", {"causal": True, "num_layers": 2}),
}
"""Class and settings of each model; ``num_layers`` blocks of EchoMamba4Rec hold as many pairs each."""


class Catalogue:
    """Stand in for the dataset of a run: the ids of one user and of the items."""

    def __init__(self, config, items: int):
        ids = np.array(["[PAD]", *map(str, range(1, items + 1))])
        self.field2id_token = {config["USER_ID_FIELD"]: ids[:2], config["ITEM_ID_FIELD"]: ids}

    def num(self, field: str) -> int:
        """Return the number of ids of a field, the padding included."""
        return len(self.field2id_token[field])


def write_untrained_run(folder: Path, model: str, items: int, **settings) -> Path:
    """Write the run directory of a model with its first weights, as far as recommendations need it."""
    config = Config(model, "ml-100k", config_dict={"use_gpu": False, "show_progress": False, **settings})
    catalogue = Catalogue(config, items)
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    write_settings(folder, config)
    write_vocabulary(folder, catalogue, "")
    save_weights(get_model(model)(config, catalogue), folder / WEIGHTS_FILE)
    return folder


def open_session(file: Path, threads: int) -> Callable[[list[int]], None]:
    """Return a call that scores all items for one history with onnxruntime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    slots = session.get_inputs()[0].shape[1]

    def call(history: list[int]) -> None:
        item_seq = np.zeros((1, slots), np.int64)
        item_seq[0, : len(history)] = history
        (scores,) = session.run(["scores"], {"item_seq": item_seq, "item_seq_len": np.array([len(history)])})
        best = np.argpartition(-scores[0], 10)[:10]
        best[np.argsort(-scores[0, best])]

    return call


def measure_medians(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median processor seconds of each call; they take turns, after three rounds that are not measured."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-3, repetitions):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            if number >= 0:
                seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def compare_models(folder: Path, options: argparse.Namespace) -> None:
    """Print the times of one full history, and the size of each file."""
    history = np.random.default_rng(0).integers(1, options.items + 1, options.length).tolist()
    calls, beside = {}, {}
    for name in options.models:
        model, settings = MODELS[name]
        sizes = {"hidden_size": 64, "MAX_ITEM_LIST_LENGTH": options.length}
        run = write_untrained_run(folder / name, model, options.items, **sizes, **settings)
        recommender = Recommender.load(run)
        calls[name] = lambda recommender=recommender: recommender.recommend(histories=[[str(i) for i in history]])
        if name != BASELINE:
            file = export(run).file
            beside[name] = file.stat().st_size - 4 * 64 * (options.items + 1)
            session = open_session(file, options.threads)
            calls[f"{name}, onnx"] = lambda session=session: session(history)
    medians = measure_medians(calls, options.repetitions)
    rows = []
    for name in options.models:
        ratio = f"{medians[name] / medians[BASELINE]:.2f}" if BASELINE in medians else ""
        row = [name, f"{medians[name] * 1e3:.2f}", ratio]
        if name in beside:
            onnx = medians[f"{name}, onnx"]
            row += [f"{onnx * 1e3:.2f}", f"{onnx / medians[name]:.2f}", f"{beside[name] / 1e6:.2f}"]
        rows.append(row + [""] * (6 - len(row)))
    print(f"one history of {options.length} items, {options.items} items to rank, {options.threads} threads")
    header = ["model", "object, ms", "to SASRec", "onnxruntime, ms", "to object", "file beside the item matrix, MB"]
    print(format_table(header, rows))


def compare_file_with_calls(folder: Path, options: argparse.Namespace) -> None:
    """Print the users a second of processor time for many histories from a file, and for a call each."""
    draw = np.random.default_rng(0)
    file = folder / "people.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for user in range(options.users):
            items = draw.integers(1, options.items + 1, draw.integers(1, options.length + 1))
            lines.write(json.dumps({"user_id": f"u{user}", "items": [str(item) for item in items]}) + "\n")
    rows = []
    for name in options.models:
        recommender = Recommender.load(folder / name)
        begin = time.process_time()
        recommender.recommend(histories=read_histories(file))
        at_once = options.users / (time.process_time() - begin)
        some = dict(list(read_histories(file).items())[: options.calls])
        begin = time.process_time()
        for user, items in some.items():
            recommender.recommend(histories={user: items})
        one_by_one = len(some) / (time.process_time() - begin)
        rows.append([name, f"{at_once:.0f}", f"{one_by_one:.0f}", f"{at_once / one_by_one:.1f}"])
    print(f"\n{options.users} histories of 1 to {options.length} items, users a second, {options.threads} threads")
    print(format_table(["model", "from a file", "one by one", "ratio"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="NAME")
    parser.add_argument("--items", type=int, default=3706)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--users", type=int, default=100_000, help="histories in the file; 0: leave this part out")
    parser.add_argument("--calls", type=int, default=1000, help="how many of them are also asked for one by one")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare_models(Path(folder), options)
        if options.users:
            compare_file_with_calls(Path(folder), options)


if __name__ == "__main__":
    main()
