"""Read atomic files into RecBole's dataset and loaders, after checking them for common mistakes."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import recbole.data.dataset
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.utils import create_samplers
from recbole.utils import FeatureType

from dataset_prep.record import read_digests
from recbole_echomamba.config.checks import as_list
from recbole_echomamba.config.early_checks import explain_missing_dataset
from recbole_echomamba.config.values import check_name
from recbole_echomamba.data.atomic_file import check_no_nul, read_header
from recbole_echomamba.data.bad_rows import find_bad_row
from recbole_echomamba.data.compatible_dataset import CompatibleDataset, make_compatible
from recbole_echomamba.data.dataloader import FullSortLoader, NegSampleLoader, TrainLoader
from recbole_echomamba.data.samples import measure_future
from recbole_echomamba.data.sequence_loader import SequenceLoader
from recbole_echomamba.data.split_files import SplitFilesDataset
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.data.windowed_interaction import WindowedInteraction
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import sha256
from recbole_echomamba.system.ranks import is_distributed, is_first_on_machine, is_main_process

COLUMN_SETTINGS = (
    "val_interval",
    "normalize_field",
    "threshold",
    "discretization",
    "numerical_features",
    "alias_of_user_id",
    "alias_of_item_id",
    "preload_weight",
    "seq_len",
)
"""Settings that name columns of the atomic files."""

MAX_TIMES = 1_000_000
"""How many training interactions are looked at to say how many are later than the test targets."""

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
    _check_inter_file(config)
    _check_undamaged(config)
    _check_loaded_columns(config)
    if not is_first_on_machine(config):
        # The first process of this machine prepares the data, the others read its cache
        torch.distributed.barrier()
    try:
        dataset = _choose_dataset_class(config)(config)
    except UserError:
        raise
    except (ValueError, pd.errors.ParserError) as error:
        if "feat is empty" not in str(error):
            raise _explain_unreadable(config, error) from None
        raise UserError(f"dataset {config['dataset']}: {_explain_empty(config)}") from None
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
    _log_future(config, parts)
    samplers = create_samplers(config, dataset, parts)
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


def _build_parts(config, dataset) -> list:
    """Split a dataset into its training, validation and test part, of which the last two may be empty."""
    parts = dataset.build()
    if config["benchmark_filename"] and len(parts) == 2:
        # validation comes before the test, and either may be left out
        place = 2 if "valid" in config["benchmark_filename"][1] else 1
        parts.insert(place, dataset.copy(parts[0].inter_feat[:0]))
    if not len(parts[1]) and config["train_on"] != "all" and is_main_process(config):
        logging.getLogger().warning(
            "there is no validation part: training lasts all %d epochs, and the last one is tested", config["epochs"]
        )
    return parts


def atomic_files(config) -> list[Path]:
    """List the files of a dataset that a run reads: ``.inter``, and others such as ``.item`` where they are loaded."""
    load_col = config["load_col"]
    endings = [f"{part}.inter" for part in config["benchmark_filename"] or []] or ["inter"]
    endings += [part for part in ("item", "user") if load_col is None or part in load_col]
    endings += config["additional_feat_suffix"] or []
    files = [_atomic_file(config, ending) for ending in endings]
    return [file for file in files if file.is_file()]


def _atomic_file(config, ending: str) -> Path:
    check_name("the ending of a file", ending)
    return Path(config["data_path"]) / f"{config['dataset']}.{ending}"


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
            f"single interactions in {_atomic_file(config, 'inter')}"
        )
    if own is not None:
        return make_compatible(own)
    if config["benchmark_filename"]:
        return SplitFilesDataset
    if config["numerical_features"]:
        return CompatibleDataset
    kinds = _read_inter_header(config).values()
    return CompatibleDataset if any(kind.endswith("seq") for kind in kinds) else WindowedDataset


def _choose_evaluation_loader(config, phase: str) -> type[FullSortLoader] | type[NegSampleLoader]:
    return FullSortLoader if config["eval_args"]["mode"][phase] == "full" else NegSampleLoader


def _check_sizes(config, dataset) -> None:
    name, items, largest_k = config["dataset"], dataset.item_num - 1, max(config["topk"])
    if largest_k > items:
        raise UserError(
            f"dataset {name} has {items} items after filtering, but topk asks for {largest_k}; set topk lower"
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
                f"of {_atomic_file(config, 'item')}, and load_col to load them, such as item: {wanted}"
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
    samples = parts[0].inter_feat[:]
    samples.targets = torch.cat([part.inter_feat.targets for part in parts])
    samples.lengths = torch.cat([part.inter_feat.lengths for part in parts])
    return dataset.copy(samples)


def _require_windows(dataset, setting: str, default: str) -> None:
    if not isinstance(dataset, WindowedDataset):
        reason = "not possible with benchmark files or numerical features"
        raise UserError(f"{setting}: all is {reason}; set {setting}: {default}")


def _log_future(config, parts) -> None:
    """Warn where the split lets a model learn from interactions that are later than the targets it is tested on."""
    samples = [part.inter_feat for part in (parts[0], parts[2])]
    if not isinstance(samples[0], WindowedInteraction) or not is_main_process(config):
        return
    train_times, test_times = (part.flat[config["TIME_FIELD"]][part.targets.long()].numpy() for part in samples)
    # of a large dataset every so many rows are enough for a share
    step = max(1, len(train_times) // MAX_TIMES)
    share = measure_future(train_times[::step], test_times)
    if share:
        logging.getLogger().warning(
            "on average %.0f%% of the training interactions are later than a test target: leave-one-out lets the model learn "
            "from the future, in published figures too; docs/protocols.md says how to split by global time",
            100 * share,
        )


def _read_inter_header(config) -> dict[str, str]:
    return read_header(_atomic_file(config, "inter"), config["field_separator"], config["encoding"])


def _check_inter_file(config) -> None:
    if config["benchmark_filename"]:
        _check_split_files(config)
        return
    file = _atomic_file(config, "inter")
    if not file.is_file():
        raise MissingFileError(explain_missing_dataset(config["dataset"], file))
    columns = _read_inter_header(config)
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        name = config[key]
        if name not in columns:
            raise UserError(
                f"{file}, line 1: there is no column `{name}:{kind}` (it has {', '.join(columns)}); "
                f"add it, or name another with --{key}=COLUMN and list it in load_col"
            )
        if columns[name] != kind:
            raise UserError(f"{file}, line 1: {name}:{columns[name]} must be {name}:{kind}")


def _check_undamaged(config) -> None:
    """Check that no file holds a NUL byte, and that those which ``dataset_prep`` wrote are what it wrote."""
    folder, name = Path(config["data_path"]), config["dataset"]
    digests = read_digests(folder, name)
    for file in atomic_files(config):
        check_no_nul(file, config["encoding"])
        if file.name in digests and sha256(file) != digests[file.name]:
            raise UserError(
                f"{file} is damaged or has been changed since it was prepared; prepare it again with --force, or delete "
                f"{folder / name}.prep.json to use it as it is"
            )


def _check_split_files(config) -> None:
    """Check that the files which a user has split the data into exist and hold rows."""
    for part in config["benchmark_filename"]:
        file = _atomic_file(config, f"{part}.inter")
        if not file.is_file():
            raise MissingFileError(f"benchmark_filename names {part!r}, but {file} does not exist")
        read_header(file, config["field_separator"], config["encoding"])
        if not _has_rows(file):
            raise UserError(f"{file} has no rows; leave {part!r} out of benchmark_filename")


def _has_rows(file: Path) -> bool:
    with open(file, "rb") as lines:
        next(lines, None)
        return any(line.strip() for line in lines)


def _check_loaded_columns(config) -> None:
    """Check that ``load_col`` names files and columns that exist; RecBole leaves out those that do not without a word."""
    for ending, names in (config["load_col"] or {}).items():
        file = _atomic_file(config, ending)
        if not names or (ending == "inter" and config["benchmark_filename"]):
            continue
        if not file.is_file():
            raise MissingFileError(f"load_col names {ending}: {names}, but {file} does not exist")
        columns = read_header(file, config["field_separator"], config["encoding"])
        missing = [name for name in as_list(names) if name != "*" and name not in columns]
        if missing:
            raise UserError(
                f"{file}, line 1: there is no column {missing[0]!r}, which load_col names (it has {', '.join(columns)})"
            )
    for suffix in as_list(config["additional_feat_suffix"] or []):
        _check_additional_file(config, suffix)
    _check_named_columns(config)


def _check_additional_file(config, suffix: str) -> None:
    """Check that the file exists and that its ids have numbers, which RecBole gives only to those with an alias."""
    file = _atomic_file(config, suffix)
    if not file.is_file():
        raise MissingFileError(f"additional_feat_suffix names {suffix!r}, but {file} does not exist")
    numbered = {
        name for of in ("user", "item", "entity", "relation") for name in as_list(config[f"alias_of_{of}_id"] or [])
    }
    kinds = read_header(file, config["field_separator"], config["encoding"])
    wanted = "*" if config["load_col"] is None else config["load_col"].get(suffix) or []
    loaded = [name for name in kinds if wanted == "*" or name in as_list(wanted)]
    unnumbered = [name for name in loaded if kinds[name].startswith("token") and name not in numbered]
    if unnumbered:
        raise UserError(
            f"{file}, line 1: the ids in {unnumbered[0]} stand for nothing; say what they are, such as "
            f"alias_of_item_id: [{unnumbered[0]}]"
        )


def _check_named_columns(config) -> None:
    """Check that the settings which name columns name loaded ones."""
    load_col, unload_col = config["load_col"], config["unload_col"] or {}
    loaded: list[str] = []
    for file in atomic_files(config):
        ending = file.name.rpartition(".")[2]
        names = "*" if load_col is None else load_col.get(ending, [])
        header = read_header(file, config["field_separator"], config["encoding"])
        loaded += [name for name in header if names == "*" or name in as_list(names)]
        loaded = [name for name in loaded if name not in as_list(unload_col.get(ending, []))]
    for setting in COLUMN_SETTINGS:
        value = config[setting] or []
        named = [*value, *value.values()] if setting == "preload_weight" and isinstance(value, dict) else list(value)
        missing = [name for name in named if name not in loaded]
        if missing:
            raise UserError(
                f"{setting} names the column {missing[0]!r}, which is not loaded; add it to load_col, or take it out of "
                f"{setting} (loaded are {', '.join(dict.fromkeys(loaded))})"
            )


def _explain_empty(config) -> str:
    """Say what is empty after reading and filtering."""
    for file in atomic_files(config):
        if not _has_rows(file):
            return f"{file} has no rows"
    keys = ["user_inter_num_interval", "item_inter_num_interval"]
    if config["load_col"] is None or {"user", "item"} & set(config["load_col"]):
        keys.append("filter_inter_by_user_or_item")
    filters = ", ".join(f"{key}={config[key]}" for key in keys)
    return f"no interaction is left after filtering with {filters}"


def _explain_unreadable(config, error: Exception) -> Exception:
    """Return a UserError that names the file and row at which reading failed, or ``error`` if the files are not to blame."""
    for file in atomic_files(config):
        if not _has_rows(file):
            return UserError(f"{file} has no rows")
        separators = config["field_separator"], config["seq_separator"]
        if problem := find_bad_row(file, *separators, config["encoding"]):
            return UserError(problem)
    return error
