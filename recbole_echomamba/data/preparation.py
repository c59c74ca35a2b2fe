"""From atomic files to RecBole's data set and loaders, with the usual mistakes caught before RecBole reads a byte."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.utils import create_samplers
from recbole.utils import FeatureType

from recbole_echomamba.config.model_names import nearest
from recbole_echomamba.data.dataloader import FullSortLoader, NegSampleLoader, TrainLoader
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import MissingFileError, UserError

MOVIELENS = ("ml-1m", "ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small")
AMAZON = ("reviews_{category}_5.json.gz", "http://jmcauley.ucsd.edu/data/amazon/")
GETTING = {
    "netflix": ("archive.zip", "https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data"),
    "tmall": ("IJCAI16_data.zip", "https://tianchi.aliyun.com/dataset/53"),
    "lfm-1b": ("LFM-1b.zip", "http://www.cp.jku.at/datasets/LFM-1b/"),
}
"""The file of a data set this project prepares, and where it is; MovieLens is downloaded, Amazon has a file per category."""


def create_dataset(config) -> SequentialDataset:
    """Read, filter and remap the data set a configuration names.

    Raises:
        FileNotFoundError: the ``.inter`` file is missing; the message says how to get it.
        ValueError: a column is missing, or the filters leave nothing.
    """
    _check_atomic_file(config)
    leads = config["single_spec"] or config["local_rank"] == 0
    if not leads:
        torch.distributed.barrier()  # the first process of this machine prepares the data, the others find them kept
    try:
        dataset = _dataset_class(config)(config)
    except ValueError as error:
        if "feat is empty" not in str(error):
            raise
        kept = ", ".join(f"{key}={config[key]}" for key in ("user_inter_num_interval", "item_inter_num_interval"))
        raise UserError(f"data set {config['dataset']}: no interaction is left after filtering with {kept}") from None
    if leads and not config["single_spec"]:
        torch.distributed.barrier()
    return dataset


def _dataset_class(config) -> type[SequentialDataset]:
    """RecBole's own class where a model has one or the data are of a kind that windows do not cover, else ours."""
    module = importlib.import_module("recbole.data.dataset")
    own = getattr(module, config["model"] + "Dataset", None)
    if own is not None:
        return own
    plain = not config["benchmark_filename"] and not config["numerical_features"]
    sequences = [kind for kind in _columns(config).values() if kind.endswith("seq")]
    return WindowedDataset if plain and not sequences else SequentialDataset


def data_preparation(config, dataset):
    """Split into RecBole's ``train, valid, test`` loaders.

    Raises ValueError when no history is long enough to split, or the items are fewer than ``topk`` asks for.
    """
    name, items, largest = config["dataset"], dataset.item_num - 1, max(config["topk"])
    if largest > items:
        raise UserError(
            f"data set {name} has {items} items after filtering, but topk asks for {largest}; set topk lower"
        )
    longest = dataset.inter_num and max(dataset.user_counter.values())
    if "LS" in config["eval_args"]["split"] and not config["benchmark_filename"] and longest < 4:
        raise UserError(
            f"data set {name}: no user has the four interactions that leave-one-out needs to train, validate and test"
        )
    if config["save_dataset"] or config["save_dataloaders"]:
        raise UserError("save_dataset and save_dataloaders pickle objects; data_cache keeps prepared data instead")
    parts = dataset.build()
    samplers = create_samplers(config, dataset, parts)
    if config["train_on"] == "all":
        parts[0] = _joined(dataset, parts)
    train = TrainLoader(config, parts[0], samplers[0], shuffle=config["shuffle"])
    evaluated = [
        (FullSortLoader if config["eval_args"]["mode"][phase] == "full" else NegSampleLoader)(config, part, sampler)
        for phase, part, sampler in zip(("valid", "test"), parts[1:], samplers[1:], strict=True)
    ]
    return train, *evaluated


def _joined(dataset, parts):
    """All samples, for a model that has been validated and shall see the newest events before it is deployed."""
    if not isinstance(dataset, WindowedDataset):
        raise UserError("train_on: all is not possible with benchmark files or numerical features; set train_on: train")
    whole = parts[0].inter_feat[:]
    whole.targets = torch.cat([part.inter_feat.targets for part in parts])
    whole.lengths = torch.cat([part.inter_feat.lengths for part in parts])
    return dataset.copy(whole)


def atomic_files(config) -> list[Path]:
    """The data set's files that a run reads: ``.inter``, and ``.item`` and ``.user`` where they are loaded."""
    folder, name = Path(config["data_path"]), config["dataset"]
    load_col = config["load_col"]
    parts = [f"{part}.inter" for part in config["benchmark_filename"] or []] or ["inter"]
    parts += [part for part in ("item", "user") if load_col is None or part in load_col]
    parts += config["additional_feat_suffix"] or []
    return [file for part in parts if (file := folder / f"{name}.{part}").is_file()]


def _check_atomic_file(config) -> None:
    if config["benchmark_filename"]:
        return  # split by the user into several files; RecBole names the one that is missing
    file = Path(config["data_path"]) / f"{config['dataset']}.inter"
    if not file.is_file():
        raise MissingFileError(_how_to_get(config, file))
    columns = _columns(config)
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        if columns.get(config[key], kind) != kind:
            raise UserError(f"{file}, line 1: {config[key]}:{columns[config[key]]} must be {config[key]}:{kind}")
        if config[key] not in columns:
            raise UserError(
                f"{file}, line 1: there is no column `{config[key]}:{kind}` (it has {', '.join(columns)}); "
                f"add it, or name another with --{key}=COLUMN and list it in load_col"
            )


def _columns(config) -> dict[str, str]:
    """The columns of the ``.inter`` file and their kinds, from its header."""
    file = Path(config["data_path"]) / f"{config['dataset']}.inter"
    if not file.is_file():
        return {}
    try:
        with open(file, encoding=config["encoding"] or "utf-8") as lines:
            header = lines.readline().rstrip("\r\n")
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(
            f"{file}, line 1, cannot be decoded ({error}); name its --encoding, or write it as utf-8"
        ) from None
    if not header or header.startswith("\ufeff"):
        raise UserError(
            f"{file}, line 1: {'a byte order mark: write utf-8 without one' if header else 'the file is empty'}"
        )
    entries = [column.partition(":")[::2] for column in header.split(config["field_separator"])]
    columns = dict(entries)
    if len(columns) < len(entries):
        raise UserError(f"{file}, line 1: a column stands there twice: {header!r}")
    for name, kind in columns.items():
        if kind not in {known.value for known in FeatureType}:
            kinds = "token, float, token_seq or float_seq"
            raise UserError(
                f"{file}, line 1: column {name!r} is of kind {kind!r}; write {name}:KIND, KIND one of {kinds}"
            )
    return columns


def _how_to_get(config, file: Path) -> str:
    name, folder = config["dataset"], file.parent.parent
    missing = f"data set {name!r} is not there: {file} does not exist"
    if name in MOVIELENS:
        return f"{missing}; this gets it: python -m dataset_prep {name} --download --out {folder}"
    if name in GETTING or name.startswith("amazon-"):
        category = "_".join(word.capitalize() for word in name.split("-")[1:])
        raw, where = (text.format(category=category) for text in GETTING.get(name, AMAZON))
        return f"{missing}; get {raw} from {where}, then: python -m dataset_prep {name} --raw {raw} --out {folder}"
    known = nearest(name, ["ml-100k", *MOVIELENS, *GETTING, "amazon-beauty", "amazon-video-games"])
    return f"{missing}; put a RecBole atomic file there or point --data_path at the folder that holds {name}/ ({known})"
