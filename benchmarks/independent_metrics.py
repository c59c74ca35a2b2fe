"""Compare our test metrics of a run with those of RecTools: ``python -m benchmarks.independent_metrics RUN_DIRECTORY``.

RecTools' NDCG is ours with ``divide_by_achievable=True``; by default it divides by the gain of ``k`` targets a user.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import pandas as pd


def main() -> None:
    from benchmarks.time_to_accuracy import find_rectools
    from recbole_echomamba import Trainer, load_run

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_directory")
    parser.add_argument("--rectools-env", default=".venv-rectools", metavar="FOLDER")
    options = parser.parse_args()
    changes = {"metric_decimal_place": 8, "topk": [10], "use_gpu": False}
    config, model, dataset, _, _, test = load_run(options.run_directory, config_dict=changes)
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(dataset)
    ours = {"all": trainer.evaluate(test, load_best_model=False), "unseen": trainer.result_unseen}
    tables = {"all": [], "unseen": [], "targets": []}
    for interaction, _, rows, target in test:
        users, scores = interaction["user_id"], model.full_sort_predict(interaction).detach()
        scores[:, 0] = -float("inf")
        tables["targets"].append(pd.DataFrame({"user_id": users, "item_id": target}))
        for protocol in ours:
            if protocol == "unseen":
                # the target itself stays, also where it has been seen
                scores[interaction.seen], scores[rows, target] = -float("inf"), scores[rows, target].clone()
            best = {"user_id": users.repeat_interleave(10), "item_id": scores.topk(10).indices.flatten()}
            tables[protocol].append(pd.DataFrame(best).assign(rank=[*range(1, 11)] * len(users)))
    python = find_rectools(Path(options.rectools_env).resolve()) or parser.exit(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, parts in tables.items():
            pd.concat(parts).to_csv(f"{folder}/{name}.csv", index=False)
        command = [python, "-c", f"from benchmarks.independent_metrics import compute; compute({folder!r})"]
        theirs = json.loads(subprocess.check_output(command, cwd=Path(__file__).parent.parent))
    for protocol, metrics in theirs.items():
        print(protocol, *(f"{name}: ours {ours[protocol][name]:.8f}, RecTools {metrics[name]:.8f}" for name in metrics))


def compute(folder: str) -> None:
    """Print RecTools' metrics of the tables in a folder as JSON; this runs in its environment."""
    from rectools.metrics import MRR, NDCG, HitRate, calc_metrics

    metrics = {"hit@10": HitRate(10), "ndcg@10": NDCG(10, divide_by_achievable=True), "mrr@10": MRR(10)}
    read = {name: pd.read_csv(f"{folder}/{name}.csv") for name in ("all", "unseen", "targets")}
    print(json.dumps({name: calc_metrics(metrics, read[name], read["targets"]) for name in ("all", "unseen")}))


if __name__ == "__main__":
    main()
