"""The run directory: readable settings, weights without code, and the state of training.

``config.yaml`` holds the merged settings, ``model.safetensors`` the weights of the best epoch, ``training_state.pt`` the
last epoch (weights, optimiser, random states, history), loaded with ``weights_only=True``. Nothing is pickled.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import write_atomically, write_text

CONFIG, WEIGHTS, STATE, RESULT = "config.yaml", "model.safetensors", "training_state.pt", "result.json"
LOCK = ".lock"


def new_run_directory(config) -> Path:
    """Make ``<checkpoint_dir>/<model>-<dataset>-<time>-s<seed>-<hash>`` and write the settings; never an existing one."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{config['model']}-{config['dataset']}-{stamp}-s{config['seed']}-{config.hash}"
    for attempt in range(1, 100):
        directory = Path(config["checkpoint_dir"]) / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        write_settings(directory, config)
        return directory
    raise FileExistsError(f"{directory} and 98 like it exist already")


def settings_of(config) -> dict:
    """All that is needed to make ``config`` again, in the types of YAML."""
    folder = Path(config.settings["data_path"]).resolve()  # the run can be used from anywhere
    return _plain({"model": config["model"], "dataset": config["dataset"], **config.settings, "data_path": str(folder)})


def write_settings(directory: Path, config) -> None:
    """Write ``config.yaml``."""
    write_text(directory / CONFIG, yaml.safe_dump(settings_of(config), sort_keys=False))


def read_settings(directory: Path | str) -> dict:
    """The settings a run directory was made with. Raises FileNotFoundError when it is not a run directory."""
    file = Path(directory) / CONFIG
    if not file.is_file():
        raise MissingFileError(f"{directory} is not a run directory: it holds no {CONFIG}")
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    if not isinstance(settings, dict) or not {"model", "dataset"} <= set(settings):
        raise UserError(f"{file} is damaged: it is not the settings of a run")
    return settings


def save_weights(model: torch.nn.Module, file: Path) -> None:
    """Write ``model``'s parameters and buffers; its class name goes into the header."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    write_atomically(file, lambda temporary: save_file(tensors, temporary, {"model": type(model).__name__}))


def load_weights(model: torch.nn.Module, file: Path | str) -> None:
    """Put the weights of ``file`` into ``model``.

    Raises ValueError when the file is damaged, of another model, or of other shapes; the model is then left as it was.
    """
    if not Path(file).is_file():
        raise MissingFileError(f"there are no weights at {file}")
    try:
        with safe_open(str(file), framework="pt") as opened:
            of = (opened.metadata() or {}).get("model")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is truncated or damaged ({error}); train again or restore it") from None
    if of is not None and of != type(model).__name__:
        raise UserError(f"{file} holds the weights of {of}, not of {type(model).__name__}")
    own = model.state_dict()
    for name in [*own, *tensors]:
        if name not in tensors or name not in own:
            raise UserError(
                f"{file} does not fit {type(model).__name__}: {name} is {'missing' if name in own else 'extra'}"
            )
        if own[name].shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, the model needs {list(own[name].shape)}"
            raise UserError(f"{file}: {name} has shape {shapes}; the settings or the data have changed")
    model.load_state_dict(tensors)


def save_state(file: Path, state: dict) -> None:
    """Write a training state: tensors, numbers, strings and containers of them."""
    write_atomically(file, lambda temporary: torch.save(state, temporary))


def load_state(file: Path | str, device) -> dict:
    """Read a training state. Raises ValueError when it is damaged."""
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise MissingFileError(f"there is no training state at {file}; the run cannot go on") from None
    except Exception as error:  # a damaged file can fail anywhere inside torch's reader
        raise UserError(f"{file} is truncated or damaged ({type(error).__name__})") from None


def random_states() -> dict:
    """The states of Python's, NumPy's, PyTorch's and CUDA's generators, in types that load without pickle."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict) -> None:
    """Set the generators to what :func:`random_states` gave."""
    version, keys, position = states["python"]
    random.setstate((version, tuple(keys), position))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def claim(directory: Path | str) -> FileLock:
    """Take a run directory for this process until it ends. Raises ValueError when another process writes to it."""
    lock = FileLock(Path(directory) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{directory} is in use by another process; wait for it or stop it") from None
    return lock


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
