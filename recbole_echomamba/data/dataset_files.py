"""Find the atomic files of a dataset and check them for common mistakes before RecBole reads them."""

from __future__ import annotations

from pathlib import Path

from dataset_prep.record import read_digests
from recbole_echomamba.config.checks import as_list
from recbole_echomamba.config.early_checks import explain_missing_dataset
from recbole_echomamba.config.values import check_name
from recbole_echomamba.data.atomic_file import check_no_nul, read_header
from recbole_echomamba.data.bad_rows import find_bad_row
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import sha256

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


def atomic_files(config) -> list[Path]:
    """List the files of a dataset that a run reads: ``.inter``, and others such as ``.item`` where they are loaded."""
    load_col = config["load_col"]
    endings = [f"{part}.inter" for part in config["benchmark_filename"] or []] or ["inter"]
    endings += [part for part in ("item", "user") if load_col is None or part in load_col]
    endings += config["additional_feat_suffix"] or []
    files = [atomic_file(config, ending) for ending in endings]
    return [file for file in files if file.is_file()]


def atomic_file(config, ending: str) -> Path:
    """Return the path of one file of the dataset, such as the one that ends in ``inter``, whether it exists or not."""
    check_name("the ending of a file", ending)
    return Path(config["data_path"]) / f"{config['dataset']}.{ending}"


def read_inter_header(config) -> dict[str, str]:
    """Return the columns of the ``.inter`` file and their types."""
    return read_header(atomic_file(config, "inter"), config["field_separator"], config["encoding"])


def check_inter_file(config) -> None:
    """Check that the ``.inter`` file, or each split file, exists and has columns of users, items and times."""
    if config["benchmark_filename"]:
        _check_split_files(config)
        return
    file = atomic_file(config, "inter")
    if not file.is_file():
        raise MissingFileError(explain_missing_dataset(config["dataset"], file))
    columns = read_inter_header(config)
    for key, kind in (("USER_ID_FIELD", "token"), ("ITEM_ID_FIELD", "token"), ("TIME_FIELD", "float")):
        name = config[key]
        if name not in columns:
            raise UserError(
                f"{file}, line 1: there is no column `{name}:{kind}` (it has {', '.join(columns)}); "
                f"add it, or name another with --{key}=COLUMN and list it in load_col"
            )
        if columns[name] != kind:
            raise UserError(f"{file}, line 1: {name}:{columns[name]} must be {name}:{kind}")


def check_undamaged(config) -> None:
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
        file = atomic_file(config, f"{part}.inter")
        if not file.is_file():
            raise MissingFileError(f"benchmark_filename names {part!r}, but {file} does not exist")
        read_header(file, config["field_separator"], config["encoding"])
        if not _has_rows(file):
            raise UserError(f"{file} has no rows; leave {part!r} out of benchmark_filename")


def _has_rows(file: Path) -> bool:
    with open(file, "rb") as lines:
        next(lines, None)
        return any(line.strip() for line in lines)


def check_loaded_columns(config) -> None:
    """Check that ``load_col`` names files and columns that exist; RecBole leaves out those that do not without a word."""
    for ending, names in (config["load_col"] or {}).items():
        file = atomic_file(config, ending)
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
    file = atomic_file(config, suffix)
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


def explain_empty(config) -> str:
    """Say what is empty after reading and filtering."""
    for file in atomic_files(config):
        if not _has_rows(file):
            return f"{file} has no rows"
    keys = ["user_inter_num_interval", "item_inter_num_interval"]
    if config["load_col"] is None or {"user", "item"} & set(config["load_col"]):
        keys.append("filter_inter_by_user_or_item")
    filters = ", ".join(f"{key}={config[key]}" for key in keys)
    return f"no interaction is left after filtering with {filters}"


def explain_unreadable(config, error: Exception) -> Exception:
    """Return a UserError that names the file and row at which reading failed, or ``error`` if the files are not to blame."""
    for file in atomic_files(config):
        if not _has_rows(file):
            return UserError(f"{file} has no rows")
        separators = config["field_separator"], config["seq_separator"]
        if problem := find_bad_row(file, *separators, config["encoding"]):
            return UserError(problem)
    return error
