"""Compare going on with a trained model with training anew when new days have come: ``python -m benchmarks.warm_start``.

The last tenth of ml-100k by time is held back. A model is trained on the rest, then the days come: one run continues it for a few
epochs, another is trained anew for all. Both are tested on the grown data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import pandas as pd
import recbole.config

from recbole_echomamba import run

SETTINGS = {
    "train_positions": "all",
    "num_layers": 2,
    "time_gaps": True,
    "learning_rate": 0.002,
    "lr_schedule": "cosine",
    "train_batch_size": 2048,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "show_progress": False,
}
TIME = "timestamp:float"


def write_days(folder: Path, share: float) -> None:
    """Write the dataset ``days``: the first ``share`` of ml-100k by time, in the order of its file."""
    source = Path(recbole.config.__file__).parents[1] / "dataset_example" / "ml-100k" / "ml-100k.inter"
    table = pd.read_csv(source, sep="\t", dtype=str)
    times = table[TIME].astype(float)
    (folder / "days").mkdir(parents=True, exist_ok=True)
    table[times <= times.quantile(share)].to_csv(folder / "days" / "days.inter", sep="\t", index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Mamba4Rec")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=14, help="epochs of a model that is trained anew")
    parser.add_argument("--more", type=int, nargs="+", default=[1, 3], help="epochs of one that is trained on")
    options = parser.parse_args()
    found: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        settings = {**SETTINGS, "data_path": str(data), "checkpoint_dir": f"{folder}/saved"}
        for seed in options.seeds:
            common = {**settings, "seed": seed, "epochs": options.epochs}
            write_days(data, 0.9)
            first = run(options.model, "days", config_dict=common)
            write_days(data, 1)
            found.setdefault(f"anew, {options.epochs} epochs", []).append(
                run(options.model, "days", config_dict=common)
            )
            for epochs in options.more:
                more = run(continue_from=first["run_directory"], config_dict={"epochs": epochs, "learning_rate": 0.001})
                found.setdefault(f"trained on, {epochs} epochs", []).append(more)
    for label, results in found.items():
        scores = [result["test_result"]["ndcg@10"] for result in results]
        seconds = [sum(entry["seconds"] for entry in result["history"]) for result in results]
        print(json.dumps({"run": label, "test NDCG@10": scores, "mean": statistics.mean(scores), "seconds": seconds}))


if __name__ == "__main__":
    main()
