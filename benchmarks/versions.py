"""Train every sequential model on ml-100k, to see whether its numbers are the same with other versions of the libraries.

    python -m benchmarks.versions --json newest.json
    python -m benchmarks.versions --compare oldest.json newest.json

The first trains each model for one epoch with small settings, in one thread; the second prints a table of two such files.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
import recbole
import torch

from benchmarks.working_directory import change_to
from recbole_echomamba import run
from recbole_echomamba.config.model_names import list_models

RECBOLE = Path(recbole.__file__).parent
LIBRARIES = ["torch", "numpy", "pandas", "scipy", "scikit-learn", "pyarrow", "numba"]

SETTINGS = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 10,
    # a fifth of the users, and the items that these know
    "user_inter_num_interval": "[60,100]",
    "item_inter_num_interval": "[3,inf)",
    "train_batch_size": 128,
    "hidden_size": 16,
    "embedding_size": 16,
    "kg_embedding_size": 16,
    "inner_size": 16,
    "n_layers": 2,
    "n_heads": 1,
    "show_progress": False,
    # so many that no model hits none
    "topk": [50],
    "valid_metric": "NDCG@50",
}

HISTORIES = ["user_id", "item_id", "timestamp"]
ITEM_CLASSES = {"load_col": {"inter": HISTORIES, "item": ["item_id", "class"]}, "selected_features": ["class"]}
KNOWLEDGE = {
    "load_col": {
        "inter": HISTORIES,
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
        "ent": ["ent_id", "ent_emb"],
        "rel": ["rel_id", "rel_emb"],
    },
    "additional_feat_suffix": ["ent", "rel"],
    "alias_of_entity_id": ["ent_id"],
    "alias_of_relation_id": ["rel_id"],
    "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
}

SETTINGS_OF_MODEL = {
    "DIEN": {"valid_metric": "AUC"},
    "DIN": {"valid_metric": "AUC"},
    "FDSA": ITEM_CLASSES,
    "GRU4RecCPR": {"reranker_CAN_NUM": "10"},
    "GRU4RecF": ITEM_CLASSES,
    "GRU4RecKG": KNOWLEDGE,
    "KSR": KNOWLEDGE,
    "SASRecCPR": {"reranker_CAN_NUM": "10"},
    "SASRecF": ITEM_CLASSES,
}


def write_knowledge(folder: Path) -> None:
    """Write ``ml-100k-knowledge``: RecBole's ml-100k, and embeddings of its entities and relations, drawn at random."""
    own = folder / "ml-100k-knowledge"
    own.mkdir()
    # a run may have left its cache beside the files
    for file in (RECBOLE / "dataset_example" / "ml-100k").glob("ml-100k.*"):
        shutil.copy(file, own / f"{own.name}{file.suffix}")
    triples = [line.split("\t") for line in (own / f"{own.name}.kg").read_text().splitlines()[1:]]
    named = {
        "ent": dict.fromkeys(name for head, _, tail in triples for name in (head, tail)),
        "rel": dict.fromkeys(relation for _, relation, _ in triples),
    }
    draw = np.random.default_rng(0)
    for suffix, names in named.items():
        rows = [f"{suffix}_id:token\t{suffix}_emb:float_seq"]
        rows += [f"{name}\t{' '.join(f'{x:.3f}' for x in draw.normal(size=16))}" for name in names]
        (own / f"{own.name}.{suffix}").write_text("\n".join(rows) + "\n")


def measure(names: list[str], data_path: Path) -> dict[str, dict[str, float] | str]:
    """Return the loss of the epoch and the test metrics of each model, or why it cannot be trained."""
    torch.set_num_threads(1)
    # warnings of settings that a model does not read
    logging.disable(logging.WARNING)
    measured: dict[str, dict[str, float] | str] = {}
    for name in names:
        settings = SETTINGS | SETTINGS_OF_MODEL.get(name, {}) | {"data_path": str(data_path)}
        # RecBole reads a dataset of the name ml-100k from its own folder, which has no embeddings
        dataset = "ml-100k-knowledge" if SETTINGS_OF_MODEL.get(name) is KNOWLEDGE else "ml-100k"
        try:
            result = run(name, dataset, config_dict=settings, saved=False)
            measured[name] = {"loss": result["history"][0]["train_loss"], **result["test_result"]}
        except Exception as error:
            measured[name] = f"{type(error).__name__}: {error}"
        print(f"{name}: {measured[name]}", flush=True)
    logging.disable(logging.NOTSET)
    return measured


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers pass through."""
    return {"Python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def format_comparison(first: dict, second: dict) -> str:
    """Return two Markdown tables for two files: the versions, and loss and NDCG or AUC of every model."""
    lines = ["| | first | second |", "|---|---|---|"]
    lines += [f"| {name} | {version} | {second['versions'][name]} |" for name, version in first["versions"].items()]
    lines += ["", "| model | loss | metric | first | second | equal |", "|---|---|---|---|---|---|"]
    for name, ours in first["models"].items():
        theirs = second["models"].get(name, "not trained")
        equal = "yes" if ours == theirs else "**no**"
        if isinstance(ours, str) or isinstance(theirs, str):
            shown = [each if isinstance(each, str) else "trained" for each in (ours, theirs)]
            lines.append(f"| {name} | | | {shown[0]} | {shown[1]} | {equal} |")
            continue
        metric = next(metric for metric in ("ndcg@50", "auc") if metric in ours)
        loss = f"{ours['loss']:.6f}" if ours["loss"] == theirs["loss"] else f"{ours['loss']:.6f}, {theirs['loss']:.6f}"
        lines.append(f"| {name} | {loss} | {metric} | {ours[metric]:.4f} | {theirs[metric]:.4f} | {equal} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train and write metrics, or compare two files of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list_models(), metavar="NAME", help="all by default")
    parser.add_argument("--json", metavar="FILE", help="write the metrics to this file")
    parser.add_argument("--compare", nargs=2, metavar="FILE", help="compare two files")
    options = parser.parse_args(arguments)
    if options.compare:
        print(format_comparison(*(json.loads(Path(file).read_text()) for file in options.compare)))
        return
    file = Path(options.json).resolve() if options.json else None
    # RecBole leaves its logs in the working directory
    with tempfile.TemporaryDirectory() as folder, change_to(folder):
        write_knowledge(Path(folder))
        measured = {"versions": describe_versions(), "models": measure(options.models, Path(folder))}
    if file:
        file.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
