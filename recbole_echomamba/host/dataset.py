"""From atomic files to RecBole's data set and loaders, with the usual mistakes caught before RecBole reads a byte."""

from __future__ import annotations

import importlib
from pathlib import Path

from recbole.data import data_preparation as recbole_data_preparation
from recbole.data.dataset import SequentialDataset

GETTING = {
    **{
        name: (
            f"curl -LO https://files.grouplens.org/datasets/movielens/{name}.zip",
            f"python -m dataset_prep {name} --raw {name}.zip --out {{data_path}}",
        )
        for name in ("ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small")
    },
    "ml-1m": (
        "curl -LO https://files.grouplens.org/datasets/movielens/ml-1m.zip && unzip ml-1m.zip",
        "python -m dataset_prep ml-1m --raw ml-1m --out {data_path}",
    ),
    "netflix": (
        "(get archive.zip from https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data)",
        "python -m dataset_prep netflix --raw archive.zip --out {data_path}",
    ),
    "tmall": (
        "(get IJCAI16_data.zip from https://tianchi.aliyun.com/dataset/53)",
        "python -m dataset_prep tmall --raw IJCAI16_data.zip --out {data_path}",
    ),
    "lfm-1b": (
        "(get LFM-1b.zip from http://www.cp.jku.at/datasets/LFM-1b/)",
        "python -m dataset_prep lfm-1b --raw LFM-1b.zip --out {data_path}",
    ),
    "amazon-beauty": (
        "(get reviews_Beauty_5.json.gz from http://jmcauley.ucsd.edu/data/amazon/)",
        "python -m dataset_prep amazon-beauty --raw reviews_Beauty_5.json.gz --out {data_path}",
    ),
    "amazon-video-games": (
        "(get reviews_Video_Games_5.json.gz from http://jmcauley.ucsd.edu/data/amazon/)",
        "python -m dataset_prep amazon-video-games --raw reviews_Video_Games_5.json.gz --out {data_path}",
    ),
}
"""For data sets this project prepares: the commands that get them."""


def create_dataset(config) -> SequentialDataset:
    """Read, filter and remap the data set a configuration names.

    Raises:
        FileNotFoundError: the ``.inter`` file is missing; the message says how to get it.
        ValueError: a column is missing, or the filters leave nothing.
    """
    _check_atomic_file(config)
    module = importlib.import_module("recbole.data.dataset")
    dataset = getattr(module, config["model"] + "Dataset", SequentialDataset)(config)
    return dataset


def data_preparation(config, dataset):
    """Split into RecBole's ``train, valid, test`` loaders.

    Raises ValueError when no history is long enough to split, or the items are fewer than ``topk`` asks for.
    """
    name, items, largest = config["dataset"], dataset.item_num - 1, max(config["topk"])
    if largest > items:
        raise ValueError(
            f"data set {name} has {items} items after filtering, but topk asks for {largest}; set topk lower"
        )
    longest = dataset.inter_num and max(dataset.user_counter.values())
    if "LS" in config["eval_args"]["split"] and not config["benchmark_filename"] and longest < 4:
        raise ValueError(
            f"data set {name}: no user has the four interactions that leave-one-out needs to train, validate and test"
        )
    return recbole_data_preparation(config, dataset)


def atomic_files(config) -> list[Path]:
    """The data set's files that a run reads: ``.inter``, and ``.item`` and ``.user`` where they are loaded."""
    folder, name = Path(config["data_path"]), config["dataset"]
    load_col = config["load_col"] or {}
    parts = ["inter", *(part for part in ("item", "user") if part in load_col)]
    return [file for part in parts if (file := folder / f"{name}.{part}").is_file()]


def _check_atomic_file(config) -> None:
    if config["benchmark_filename"]:
        return  # split by the user into several files; RecBole names the one that is missing
    file = Path(config["data_path"]) / f"{config['dataset']}.inter"
    if not file.is_file():
        raise FileNotFoundError(_how_to_get(config, file))
    with open(file, encoding=config["encoding"] or "utf-8") as lines:
        header = lines.readline().rstrip("\r\n")
    columns = dict(column.partition(":")[::2] for column in header.split(config["field_separator"]))
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        if config[key] not in columns:
            raise ValueError(
                f"{file}, line 1: there is no column `{config[key]}:{kind}` (it has {', '.join(columns)}); "
                f"add it, or name another with --{key}=COLUMN and list it in load_col"
            )


def _how_to_get(config, file: Path) -> str:
    name = config["dataset"]
    missing = f"data set {name!r} is not there: {file} does not exist"
    if name in GETTING:
        commands = "\n".join(f"  {c.format(data_path=file.parent.parent)}" for c in GETTING[name])
        return f"{missing}; two commands get it:\n{commands}"
    return f"{missing}; put a RecBole atomic file there or point --data_path at the folder that holds {name}/"
