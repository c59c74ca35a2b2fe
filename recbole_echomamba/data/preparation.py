"""Read atomic files into RecBole's dataset and loaders, after checking them for common mistakes."""

from __future__ import annotations

import pandas as pd
import recbole.data.dataset
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.utils import create_samplers
from recbole.utils import FeatureType

from dataset_prep.words import count
from recbole_echomamba.config.checks import as_list
from recbole_echomamba.data.compatible_dataset import CompatibleDataset, make_compatible
from recbole_echomamba.data.dataloader import FullSortLoader, NegSampleLoader, TrainLoader
from recbole_echomamba.data.dataset_files import (
    atomic_file,
    check_inter_file,
    check_loaded_columns,
    check_undamaged,
    explain_empty,
    explain_unreadable,
    read_inter_header,
)
from recbole_echomamba.data.samples import join_samples
from recbole_echomamba.data.sequence_loader import SequenceLoader
from recbole_echomamba.data.split_files import SplitFilesDataset
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.ranks import is_distributed, is_first_on_machine

MIN_INTERACTIONS = 4
"""How many interactions leave-one-out needs of a user: one to start from, and one each to train, validate and test."""


def create_dataset(config) -> SequentialDataset:
    """Read, filter and number the interactions of a dataset.

    Args:
        config: a :class:`~recbole_echomamba.config.config.Config`, which names the dataset.

    Raises:
        MissingFileError: there is no ``.inter`` file; the message says how to get it.
        UserError: a column is missing, a row cannot be read, the filters leave nothing, or a file is not what
            ``dataset_prep`` wrote.
    """
    check_inter_file(config)
    check_undamaged(config)
    check_loaded_columns(config)
    if not is_first_on_machine(config):
        # The first process of this machine prepares the data, the others read its cache
        torch.distributed.barrier()
    try:
        dataset = _choose_dataset_class(config)(config)
    except UserError:
        raise
    except (ValueError, pd.errors.ParserError) as error:
        if "feat is empty" not in str(error):
            raise explain_unreadable(config, error) from None
        raise UserError(f"dataset {config['dataset']}: {explain_empty(config)}") from None
    if is_distributed(config) and is_first_on_machine(config):
        torch.distributed.barrier()
    return dataset


def data_preparation(config, dataset):
    """Split a dataset and return RecBole's loaders for training, validation and test.

    Args:
        config: the configuration that ``dataset`` was created with.
        dataset: what :func:`create_dataset` returned. It can be split only once.

    Raises:
        UserError: no history is long enough to be split, there are fewer items than ``topk`` asks for, or a setting does not
            fit the data.
    """
    _check_sizes(config, dataset)
    _check_model_needs(config, dataset)
    if config["save_dataset"] or config["save_dataloaders"]:
        raise UserError("save_dataset and save_dataloaders pickle objects; data_cache keeps prepared data instead")
    parts = _build_parts(config, dataset)
    samplers = _create_samplers(config, dataset, parts)
    if config["train_on"] == "all":
        parts[0] = _join_parts(dataset, parts)
    if config["train_positions"] == "all":
        _require_windows(dataset, "train_positions", "last")
        train = SequenceLoader(config, parts[0])
    else:
        train = TrainLoader(config, parts[0], samplers[0], shuffle=config["shuffle"])
    valid = _choose_evaluation_loader(config, "valid")(config, parts[1], samplers[1])
    test = _choose_evaluation_loader(config, "test")(config, parts[2], samplers[2])
    return train, valid, test


def _create_samplers(config, dataset, parts) -> tuple:
    """Return RecBole's samplers for the three parts, or None for each where no item is sampled.

    RecBole makes them for full ranking, too, with a set for each user.
    """
    samples = config["train_neg_sample_args"]["distribution"] != "none"
    if samples or any(_choose_evaluation_loader(config, phase) is NegSampleLoader for phase in ("valid", "test")):
        return create_samplers(config, dataset, parts)
    return None, None, None


def _build_parts(config, dataset) -> list:
    """Split a dataset into its training, validation and test part, of which the last two may be empty."""
    parts = dataset.build()
    if config["benchmark_filename"] and len(parts) == 2:
        # validation comes before the test, and either may be left out
        place = 2 if "valid" in config["benchmark_filename"][1] else 1
        parts.insert(place, dataset.copy(parts[0].inter_feat[:0]))
    return parts


def _choose_dataset_class(config) -> type[SequentialDataset]:
    """Return the class that RecBole has for the model, or ours: with windows where they cover the kind of data."""
    # a custom model has the data of the classes that it is derived from
    own_classes = (
        getattr(recbole.data.dataset, f"{kind.__name__}Dataset", None) for kind in config.model_class.__mro__
    )
    own = next(filter(None, own_classes), None)
    if own is not None and config["benchmark_filename"]:
        raise UserError(
            f"{config['model']} builds the histories itself and cannot read benchmark_filename; leave it out and give "
            f"single interactions in {atomic_file(config, 'inter')}"
        )
    if own is not None:
        return make_compatible(own)
    if config["benchmark_filename"]:
        return SplitFilesDataset
    if config["numerical_features"]:
        return CompatibleDataset
    kinds = read_inter_header(config).values()
    return CompatibleDataset if any(kind.endswith("seq") for kind in kinds) else WindowedDataset


def _choose_evaluation_loader(config, phase: str) -> type[FullSortLoader] | type[NegSampleLoader]:
    return FullSortLoader if config["eval_args"]["mode"][phase] == "full" else NegSampleLoader


def _check_sizes(config, dataset) -> None:
    name, items, largest_k = config["dataset"], dataset.item_num - 1, max(config["topk"])
    if largest_k > items:
        fitting = [k for k in as_list(config["topk"]) if k <= items] or [1]
        raise UserError(
            f"dataset {name} has {count(items, 'item')} after filtering, but topk asks for {largest_k}; set topk lower, such as "
            f"--topk='{fitting}'"
        )
    if "LS" not in config["eval_args"]["split"] or config["benchmark_filename"]:
        return
    longest = max(dataset.user_counter.values()) if dataset.inter_num else 0
    if longest < MIN_INTERACTIONS:
        raise UserError(
            f"dataset {name}: no user has the four interactions that leave-one-out needs to train, validate and test"
        )


def _check_model_needs(config, dataset) -> None:
    """Check what a model needs of the data, which it would find out in the middle of training."""
    if config["model"].endswith("CPR"):
        largest = max(int(size) for size in str(config["reranker_CAN_NUM"]).split(","))
        if largest > dataset.item_num:
            raise UserError(
                f"reranker_CAN_NUM is {config['reranker_CAN_NUM']}, but dataset {config['dataset']} has only "
                f"{dataset.item_num - 1} items; set reranker_CAN_NUM to at most that"
            )
    if config["selected_features"] and config.model_class.__module__.startswith("recbole."):
        columns = [dataset.iid_field] if dataset.item_feat is None else dataset.item_feat.columns
        missing = [name for name in as_list(config["selected_features"]) if name not in columns]
        if missing:
            wanted = [config["ITEM_ID_FIELD"], *as_list(config["selected_features"])]
            raise UserError(
                f"{config['model']} reads the item column {missing[0]!r}, which is not loaded: set selected_features to columns "
                f"of {atomic_file(config, 'item')}, and load_col to load them, such as item: {wanted}"
            )
        plain = [name for name in as_list(config["selected_features"]) if _is_unembedded_float(dataset, name)]
        if plain:
            raise UserError(
                f"{config['model']} embeds the item column {plain[0]!r}, which holds numbers; add it to "
                "numerical_features or take it out of selected_features"
            )
    time_list = config["TIME_FIELD"] + config["LIST_SUFFIX"]
    if config["benchmark_filename"] and config["time_gaps"] and time_list not in dataset.inter_feat:
        raise UserError(
            f"time_gaps needs a column {time_list}:float_seq in every split file; add it or set time_gaps: False"
        )


def _is_unembedded_float(dataset, name: str) -> bool:
    is_float = dataset.field2type[name] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
    return is_float and name not in as_list(dataset.config["numerical_features"])


def _join_parts(dataset, parts):
    """Return a training part with all samples, for a model that was validated before and is trained again to be deployed."""
    _require_windows(dataset, "train_on", "train")
    joined = join_samples([part.inter_feat.samples for part in parts])
    return dataset.copy(parts[0].inter_feat.with_samples(joined))


def _require_windows(dataset, setting: str, default: str) -> None:
    if not isinstance(dataset, WindowedDataset):
        reason = "not possible with benchmark files or numerical features"
        raise UserError(f"{setting}: all is {reason}; set {setting}: {default}")
