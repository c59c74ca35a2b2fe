"""The values to try of every setting of RecBole's reference, and what shows that each did something."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.recbole_settings import Probe

INTER = ["user_id", "item_id", "timestamp"]
WITH_ITEMS = {
    "load_col": {"inter": INTER, "item": ["item_id", "price", "kind", "words"]},
    "selected_features": ["kind"],
}
WITH_RATING = {"load_col": {"inter": [*INTER, "rating"]}}
WITH_VIEWED = {"load_col": {"inter": [*INTER, "viewed"]}}
WITH_VECTORS = {
    "load_col": {"inter": INTER, "vector": ["vector_id", "vector"]},
    "additional_feat_suffix": ["vector"],
    "alias_of_item_id": ["vector_id"],
}
SAMPLED = {"eval_args": {"mode": "uni3"}}
LONGER = {"epochs": 6, "learning_rate": 0.05}
BPR = {"loss_type": "BPR"}


def _column(name: str, **arguments) -> Probe:
    """Return the probe of a setting that names a column which is generated."""
    return Probe(name, by=f"the batches have the column {name}", seen=_has_column(name), **arguments)


def _has_column(*names: str):
    def seen(tried, plain) -> bool:
        columns = next(iter(tried.train)).columns
        return any(name in columns for name in names)

    return seen


def _is_loaded(name: str, loaded: bool):
    return lambda tried, plain: (name in _fields(tried)) is loaded and (name in _fields(plain)) is not loaded


def _fields(outcome) -> set[str]:
    return set(outcome.dataset.field2type)


PROBES: dict[str, list[Probe]] = {
    # environment
    "gpu_id": [Probe("0", by="the device is a GPU", seen=lambda tried, plain: tried.config["device"].type == "cuda")],
    "worker": [Probe(1, by="the loader has a worker", seen=lambda tried, plain: tried.train.num_workers == 1)],
    "use_gpu": [
        Probe(False, by="the device is the CPU", seen=lambda tried, plain: tried.config["device"].type == "cpu")
    ],
    "seed": [Probe(7)],
    "state": [
        Probe(
            "WARNING",
            by="no INFO in the log file",
            seen=lambda tried, plain: "INFO" in plain.log and "INFO" not in tried.log,
        ),
        Probe("LOUD"),
    ],
    "reproducibility": [
        Probe(
            False,
            by="cuDNN may choose algorithms that differ from run to run",
            seen=lambda tried, plain: not torch.backends.cudnn.deterministic,
        )
    ],
    "data_path": [
        Probe("./data", by="the data are read from there", seen=lambda tried, plain: tried.numbers == plain.numbers)
    ],
    "checkpoint_dir": [
        Probe(
            "kept",
            by="the run directory is there",
            seen=lambda tried, plain: Path(tried.result["run_directory"]).parts[-2] == "kept",
        )
    ],
    "show_progress": [
        Probe(
            True,
            by="a progress bar on a terminal",
            seen=lambda tried, plain: "it/s" in tried.shown and "it/s" not in plain.shown,
        )
    ],
    "save_dataset": [Probe(True)],
    "dataset_save_path": [Probe("kept.pth")],
    "save_dataloaders": [Probe(True)],
    "dataloaders_save_path": [Probe("kept.pth")],
    "log_wandb": [Probe(True)],
    "wandb_project": [Probe("mine")],
    "shuffle": [Probe(False)],
    "config_file": [Probe("mine.yaml")],
    "encoding": [
        Probe("latin-1", by="texts are decoded with it", seen=lambda tried, plain: tried.numbers == plain.numbers),
        Probe("klingon"),
    ],
    # training
    "epochs": [Probe(2)],
    "train_batch_size": [Probe(32)],
    "learner": [
        Probe("adamw", {"weight_decay": 0.5}),
        *(Probe(name) for name in ("sgd", "adagrad", "rmsprop", "sparse_adam", "lamb")),
    ],
    "learning_rate": [Probe(0.01), Probe("fast")],
    "train_neg_sample_args": [
        Probe({"distribution": "popularity", "sample_num": 1, "alpha": 0.5}, BPR),
        Probe({"distribution": "uniform", "sample_num": 2}, BPR),
        Probe({"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 3}, BPR),
        Probe({"distribution": "uniform", "sample_num": 1}),
    ],
    "eval_step": [Probe(2, {"epochs": 2}), Probe(0)],
    "stopping_step": [Probe(0, LONGER)],
    "clip_grad_norm": [Probe({"max_norm": 0.001})],
    "weight_decay": [Probe(0.5)],
    "loss_decimal_place": [Probe(2)],
    "require_pow": [Probe(True)],
    "enable_amp": [Probe(True)],
    "enable_scaler": [Probe(True)],
    "transform": [
        Probe("mask_itemseq", also={"mask_ratio": 0.5}),
        Probe("crop_itemseq", also={"eta": 0.5}),
        Probe("reorder_itemseq", also={"beta": 0.9}),
        Probe("inverse_itemseq"),
        Probe("inverse_itemseq", model="BERT4Rec"),
        Probe("user_defined"),
    ],
    # evaluation
    "eval_args": [
        Probe({"split": {"RS": [0.4, 0.3, 0.3]}}),
        Probe({"split": {"TS": [0.8, 0.1, 0.1]}}),
        Probe(
            {"split": {"LS": "valid_only"}},
            by="there is no test part",
            seen=lambda tried, plain: not tried.result["test_result"],
        ),
        Probe({"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none"}),
        Probe({"order": "RO"}),
        Probe({"mode": "uni5"}),
        Probe({"mode": "pop5"}),
        Probe({"mode": "labeled"}),
    ],
    "repeatable": [Probe(False)],
    "metrics": [Probe(["Recall", "MAP", "NDCG", "ItemCoverage"]), Probe(["AUC", "NDCG"]), Probe(["Foo"])],
    "topk": [Probe([3, 5]), Probe([99])],
    "valid_metric": [
        Probe(
            "MRR@3",
            by="another best score",
            seen=lambda tried, plain: tried.result["best_valid_score"] != plain.result["best_valid_score"],
        )
    ],
    "valid_metric_bigger": [Probe(False)],
    "eval_batch_size": [
        Probe(
            16,
            by="batches of that size, the same metrics",
            seen=lambda tried, plain: tried.config["eval_batch_size"] == 16,
        )
    ],
    "metric_decimal_place": [Probe(2)],
    # files
    "field_separator": [Probe(";", dataset="semicolons"), Probe(";")],
    "seq_separator": [
        Probe(
            "_",
            WITH_ITEMS,
            model="FDSA",
            by="lists are split by it",
            seen=lambda tried, plain: tried.dataset.field2seqlen["words"] == 1,
        )
    ],
    "USER_ID_FIELD": [Probe("viewed", WITH_VIEWED), Probe("person")],
    "ITEM_ID_FIELD": [Probe("viewed", WITH_VIEWED), Probe("thing")],
    "RATING_FIELD": [Probe("score")],
    "TIME_FIELD": [Probe("rating", WITH_RATING), Probe("moment")],
    "seq_len": [
        Probe(
            {"words": 1},
            WITH_ITEMS,
            model="FDSA",
            by="lists are cut",
            seen=lambda tried, plain: tried.dataset.field2seqlen["words"] == 1,
        )
    ],
    "LABEL_FIELD": [
        _column("bought", more={**SAMPLED, "metrics": ["AUC"], "valid_metric": "AUC"}, model="DIN"),
    ],
    "threshold": [Probe({"rating": 3}, WITH_RATING, by="labels from ratings", seen=_has_column("label"))],
    "NEG_PREFIX": [Probe("not_", BPR, by="the batches have the column not_item_id", seen=_has_column("not_item_id"))],
    "numerical_features": [
        Probe(["price"], {**WITH_ITEMS, "selected_features": ["price"]}, model="SASRecF"),
        Probe(["weight"]),
    ],
    "load_col": [
        Probe({"inter": [*INTER, "rating"]}, by="rating is loaded", seen=_is_loaded("rating", True)),
        Probe({"inter": ["user_id", "item_id"]}),
        Probe({"inter": [*INTER, "colour"]}),
    ],
    "unload_col": [
        Probe({"inter": ["rating"]}, {"load_col": None}, by="rating is not loaded", seen=_is_loaded("rating", False)),
        Probe({"inter": ["timestamp"]}, {"load_col": None}),
    ],
    "unused_col": [
        Probe(
            {"inter": ["rating"]},
            WITH_RATING,
            by="rating is not in the batches",
            seen=lambda tried, plain: not _has_column("rating")(tried, plain) and _has_column("rating")(plain, plain),
        )
    ],
    "additional_feat_suffix": [
        Probe(
            ["vector"],
            by="the file is loaded",
            seen=_is_loaded("vector", True),
            also={"load_col": WITH_VECTORS["load_col"], "alias_of_item_id": ["vector_id"]},
        ),
        Probe(["vector"], also={"load_col": WITH_VECTORS["load_col"]}),
        Probe(["gone"]),
    ],
    "rm_dup_inter": [Probe("first"), Probe("last"), Probe("some")],
    "val_interval": [Probe({"rating": "[3,inf)"}, WITH_RATING), Probe({"rating": "3+"}, WITH_RATING)],
    "filter_inter_by_user_or_item": [Probe(False, {"load_col": {"inter": INTER, "user": ["user_id", "age"]}})],
    "user_inter_num_interval": [Probe("[8,inf)"), Probe("8")],
    "item_inter_num_interval": [Probe("[2,inf)"), Probe("17")],
    "alias_of_user_id": [
        Probe(
            ["viewed"],
            WITH_VIEWED,
            by="viewed has the numbers of the users",
            seen=lambda tried, plain: tried.dataset.num("viewed") == tried.dataset.num("user_id"),
        )
    ],
    "alias_of_item_id": [
        Probe(
            ["viewed"],
            WITH_VIEWED,
            by="viewed has the numbers of the items",
            seen=lambda tried, plain: tried.dataset.num("viewed") == tried.dataset.num("item_id"),
        )
    ],
    "alias_of_entity_id": [Probe(["viewed"], WITH_VIEWED)],
    "alias_of_relation_id": [Probe(["viewed"], WITH_VIEWED)],
    "preload_weight": [
        Probe(
            {"vector_id": "vector"},
            WITH_VECTORS,
            by="the vectors can be read by id",
            seen=lambda tried, plain: tried.dataset.get_preload_weight("vector_id").shape[1] == 8,
        ),
        Probe({"gone": "vector"}),
    ],
    "normalize_field": [
        Probe(
            ["rating"],
            WITH_RATING,
            by="ratings between 0 and 1",
            seen=lambda tried, plain: tried.dataset.inter_feat["rating"].max() == 1,
        )
    ],
    "normalize_all": [
        Probe(
            True,
            WITH_RATING,
            by="ratings between 0 and 1",
            seen=lambda tried, plain: tried.dataset.inter_feat["rating"].max() == 1,
        )
    ],
    "discretization": [
        Probe(
            {"price": {"method": "ED", "bucket": 3}},
            {**WITH_ITEMS, "selected_features": ["price"], "numerical_features": ["price"]},
            model="SASRecF",
        )
    ],
    # sequences
    "ITEM_LIST_LENGTH_FIELD": [_column("n_items")],
    "LIST_SUFFIX": [Probe("_past", by="the batches have the column item_id_past", seen=_has_column("item_id_past"))],
    "MAX_ITEM_LIST_LENGTH": [Probe(3), Probe(0)],
    "POSITION_FIELD": [Probe("place")],
    # knowledge graphs
    **{
        name: [Probe(value)]
        for name, value in {
            "HEAD_ENTITY_ID_FIELD": "head",
            "TAIL_ENTITY_ID_FIELD": "tail",
            "RELATION_ID_FIELD": "relation",
            "ENTITY_ID_FIELD": "entity",
            "kg_reverse_r": True,
            "entity_kg_num_interval": "[2,inf)",
            "relation_kg_num_interval": "[2,inf)",
        }.items()
    },
    "benchmark_filename": [
        Probe(["train", "valid", "test"], {"load_col": None, "alias_of_item_id": ["item_id_list"]}),
        Probe(["train"]),
    ],
}
"""By setting; a probe without ``seen`` expects other losses or metrics, unless the setting is refused or said to do nothing."""
