"""Create, lock and read run directories, and find the run that a set of settings needs.

A run directory holds readable settings (``config.yaml``), the weights of the best epoch (``model.safetensors``), the state of
training after the last epoch (``training_state.pt``), the ids of users and items (``vocabulary.parquet``), and once the run is
finished its result (``result.json``) and the rank of every test target (``test_ranks.parquet``). Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import glob
import re
import shutil
import time
from collections.abc import Callable
from logging import getLogger
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.early_checks import RUN_CONFIG, check_run_directory
from recbole_echomamba.config.model_names import class_name, get_model, is_registered
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.config.yaml_text import parse_yaml
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import LEFTOVER, read_json, remove_leftovers
from recbole_echomamba.system.manifest import (
    MANIFEST_FILE,
    check_recorded,
    record_existing,
    recorded_digest,
    write_recorded_text,
)
from recbole_echomamba.training.checkpoint import load_state

CONFIG_FILE = RUN_CONFIG
WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "training_state.pt"
RESULT_FILE = "result.json"
RANKS_FILE = "test_ranks.parquet"
LOCK_FILE = ".lock"
CREATION_LOCK_FILE = ".new.lock"
"""In the folder of the run directories, held while one is created."""

RUN_NAME = re.compile(r".+-\d{8}-\d{6}-s\d+-[0-9a-f]{10}(-\d+)?")

REPEAT_RUN = "remove its folder to repeat the run"
"""What to do about a damaged result."""

MAX_SAME_NAME = 99
"""How many run directories may be created with the same settings and seed within one second."""


def new_run_directory(config: Config) -> Path:
    """Create a run directory, named after model, dataset, time, seed and settings, and write its settings.

    Directories of processes that were killed in here, before there were settings, are removed.

    Args:
        config: the settings of the run; ``checkpoint_dir`` names the folder to create the directory in.

    Returns:
        The directory, which did not exist before.
    """
    folder = Path(config["checkpoint_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    # the folder may belong to several users
    with FileLock(folder / CREATION_LOCK_FILE, mode=0o666):
        _remove_unfinished(folder)
        directory = _make_directory(folder, config)
        try:
            write_settings(directory, config)
        except UserError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    if config.model_reference is None:
        getLogger().warning(
            "%s cannot be imported by its name, because it is defined in a script or in a function: load_run, recommend and "
            "resume need model=%s; move it into a module to have it found",
            config["model"],
            config["model"],
        )
    return directory


def _make_directory(folder: Path, config: Config) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{config['model']}-{config['dataset']}-{stamp}-s{config['seed']}-{config.hash}"
    for attempt in range(1, MAX_SAME_NAME + 1):
        directory = folder / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            return directory
    raise FileExistsError(f"{directory} and {MAX_SAME_NAME - 1} like it exist already")


def _remove_unfinished(folder: Path) -> None:
    """Remove the run directories that hold no more than what writing their settings had begun."""
    for directory in folder.iterdir():
        if not RUN_NAME.fullmatch(directory.name):
            continue
        # a directory of another user stays
        with contextlib.suppress(OSError):
            names = {file.name for file in directory.iterdir()}
            if all(name == MANIFEST_FILE or LEFTOVER.fullmatch(name) for name in names):
                shutil.rmtree(directory)


def lock_run_directory(directory: Path | str) -> FileLock:
    """Reserve a run directory for this process until the lock is released or the process ends.

    Temporary files of a process that was killed are removed.

    Raises:
        UserError: another process has locked it.
    """
    lock = FileLock(Path(directory) / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{directory} is in use by another process; wait for it or stop it") from None
    remove_leftovers(Path(directory))
    record_existing(directory, [CONFIG_FILE, WEIGHTS_FILE, STATE_FILE, RESULT_FILE, RANKS_FILE, "vocabulary.parquet"])
    return lock


def plain_settings(config: Config) -> dict:
    """Return the settings that rebuild ``config``, as types that YAML can hold."""
    # An absolute path, so that the run can be read from any working directory
    data_path = str(Path(config.settings["data_path"]).resolve())
    model = config.model_reference or config["model"]
    return _plain({"model": model, "dataset": config["dataset"], **config.settings, "data_path": data_path})


def write_settings(directory: Path, config: Config) -> None:
    """Write ``config.yaml`` into a run directory."""
    write_recorded_text(directory / CONFIG_FILE, yaml.safe_dump(plain_settings(config), sort_keys=False))


def read_settings(directory: Path | str) -> dict:
    """Read ``config.yaml`` of a run directory.

    Returns:
        The settings of the run, ``model`` and ``dataset`` among them.

    Raises:
        MissingFileError: it is not a run directory.
        UserError: the file is damaged.
    """
    file = Path(directory) / CONFIG_FILE
    check_run_directory(directory)
    check_recorded(file)
    try:
        settings = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(settings.get(key), str) for key in ("model", "dataset")):
        raise UserError(f"{file} is damaged: it does not hold the settings of a run; restore it or start a new run")
    return settings


def find_model(
    directory: Path | str, saved: str, given: str | type[SequentialRecommender] | None
) -> type[SequentialRecommender]:
    """Return the class of the model of a run.

    Args:
        directory: the run directory, for messages.
        saved: the entry ``model`` of its settings.
        given: the class or its name, see :func:`.get_model`, where that entry does not lead to it.

    Raises:
        UserError: the class cannot be imported, or ``given`` is another model.
    """
    if given is not None:
        model = get_model(given)
        if model.__name__ != class_name(saved):
            raise UserError(f"{directory} is a run of {class_name(saved)}, not of {model.__name__}")
        return model
    try:
        return get_model(saved)
    except UserError as error:
        name = class_name(saved)
        raise UserError(
            f"{directory} is a run of the model {name}: {error}; name it with --model=module:{name}, or pass the class as model="
        ) from error


def find_finished(folder: Path) -> dict[tuple[str, str, int], dict]:
    """Find the results of all finished runs in a folder.

    Args:
        folder: the folder that holds the run directories; it need not exist.

    Returns:
        The contents of each ``result.json`` with its ``run_directory`` as it is now, by ``(config_hash, data_hash, seed)``; the
        latest of several runs with the same key.

    Raises:
        UserError: a ``result.json`` is damaged.
    """
    results = {}
    for file in sorted(folder.glob(f"*/{RESULT_FILE}")):
        if not is_current(file):
            continue
        result = read_json(file, REPEAT_RUN)
        try:
            key = (result["config_hash"], result["data_hash"], result["seed"])
            results[key] = {**result, "run_directory": str(file.parent)}
        except (KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error}); {REPEAT_RUN}") from None
    return results


def is_current(result_file: Path) -> bool:
    """Return whether there is a result and it was measured on the weights of its run as they are now.

    A run that is resumed with more epochs and then interrupted has moved on from its last result.

    Raises:
        UserError: the file is damaged.
    """
    if not result_file.is_file():
        return False
    check_recorded(result_file)
    measured_on = read_json(result_file, REPEAT_RUN).get("weights_digest")
    weights = result_file.with_name(WEIGHTS_FILE)
    return measured_on is None or not weights.is_file() or measured_on == recorded_digest(weights)


def has_progress(directory: Path) -> bool:
    """Return whether a run has saved anything of its training."""
    return any((directory / name).is_file() for name in (STATE_FILE, WEIGHTS_FILE, RESULT_FILE))


def find_resumable(folder: Path, config: Config, data_hash: str, seed: int) -> Path | None:
    """Find the latest interrupted run with the same settings, data and seed.

    A run directory whose settings or training state are missing or damaged is passed over, unless it was interrupted before
    anything was saved.

    Args:
        folder: the folder that holds the run directories; it need not exist.
        config: the settings of the run, except for the seed.
        data_hash: the SHA-256 of the atomic files.
        seed: the seed of the run.

    Returns:
        The run directory, or ``None``.
    """
    wanted = hashed_settings(plain_settings(config))
    for directory in sorted(folder.glob(glob.escape(f"{config['model']}-{config['dataset']}-") + "*"), reverse=True):
        if is_current(directory / RESULT_FILE):
            continue
        with contextlib.suppress(UserError):
            settings = read_settings(directory)
            if settings.get("seed") != seed or hashed_settings(settings) != wanted:
                continue
            if not is_registered(config.model_class) and config.hash not in directory.name:
                # the hash of a custom model covers its source, which has changed since
                continue
            if not has_progress(directory):
                return directory
            state = load_state(directory / STATE_FILE, "cpu")
            if isinstance(state, dict) and state.get("data_hash") == data_hash and state.get("processes", 1) == 1:
                return directory
    return None


def reuse_or_resume(
    folder: Path,
    config: Config,
    data_hash: str,
    seed: int,
    run: Callable[..., object],
    new_run: dict,
    wait: bool = True,
) -> dict | None:
    """Reuse a finished run, resume an interrupted one, or start a new one.

    Of several processes that need the same run, one trains it.

    Args:
        folder: the folder that holds the run directories.
        config: the settings of the run, except for the seed.
        data_hash: the SHA-256 of the atomic files.
        seed: the seed of the run.
        run: trains a run and leaves its result in ``folder``; called with ``resume=DIRECTORY`` or with ``new_run``.
        new_run: the keyword arguments that start a new run with these settings.
        wait: whether to wait for another process that is training this run.

    Returns:
        The contents of ``result.json``; ``None`` if another process is training this run and ``wait`` is false.

    Raises:
        UserError: a ``result.json`` in ``folder`` is damaged.
    """
    key = (config.hash, data_hash, seed)
    result = find_finished(folder).get(key)
    if result is not None:
        return result
    lock = FileLock(folder / f".{config.hash}-{data_hash[:10]}-s{seed}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            return None
        getLogger().warning(
            "another process is training %s with seed %d in %s; waiting for it", config["model"], seed, folder
        )
        lock.acquire()
    try:
        if key not in find_finished(folder):
            resumable = find_resumable(folder, config, data_hash, seed)
            run(**new_run) if resumable is None else run(resume=resumable)
    finally:
        lock.release()
    return find_finished(folder)[key]


def _plain(value):
    """Turn a setting into types that YAML can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
