"""Save and load weights, the state of training, and the states of the random generators.

Weights are safetensors. A training state is written by ``torch.save`` and read with ``weights_only=True``. Reading either runs
no code from the file.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.manifest import check_recorded, write_recorded


def save_weights(model: torch.nn.Module, file: Path) -> None:
    """Write the parameters and buffers of ``model``, with its class name in the header."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    metadata = {"model": type(model).__name__}
    write_recorded(file, lambda temporary: save_file(tensors, temporary, metadata))


def load_weights(model: torch.nn.Module, file: Path | str) -> None:
    """Load the weights in ``file`` into ``model``.

    Raises:
        MissingFileError: the file does not exist.
        UserError: the file is damaged, or holds the weights of another model or other shapes; ``model`` is unchanged.
    """
    saved_class, tensors = read_weights(file)
    model_class = type(model).__name__
    if saved_class not in (None, model_class):
        raise UserError(f"{file} holds the weights of {saved_class}, not of {model_class}")
    _check_fit(tensors, model, file)
    model.load_state_dict(tensors)


def read_weights(file: Path | str) -> tuple[str | None, dict[str, torch.Tensor]]:
    """Return the name of the class whose weights a file holds, and the tensors by name.

    Raises:
        MissingFileError: the file does not exist.
        UserError: the file is damaged.
    """
    if not Path(file).is_file():
        raise MissingFileError(f"there are no weights at {file}")
    check_recorded(file)
    try:
        with safe_open(str(file), framework="pt") as opened:
            saved_class = (opened.metadata() or {}).get("model")
            return saved_class, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is truncated or damaged ({error}); train again or restore it") from None


def lacks_rows(file: Path | str, model: torch.nn.Module, rows: int) -> bool:
    """Return whether a parameter of ``model`` has ``rows`` rows, and fewer of the same shape in a file of weights."""
    _, tensors = read_weights(file)
    return any(
        tensor.dim() > 0
        and len(tensor) == rows
        and name in tensors
        and len(tensors[name]) < rows
        and tensors[name].shape[1:] == tensor.shape[1:]
        for name, tensor in model.state_dict().items()
    )


def _check_fit(tensors: dict[str, torch.Tensor], model: torch.nn.Module, file: Path | str) -> None:
    """Check that ``tensors`` have the names and shapes of ``model``'s parameters and buffers."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise UserError(f"{file} does not fit {type(model).__name__}: {name} is missing")
        if tensor.shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, the model needs {list(tensor.shape)}"
            raise UserError(f"{file}: {name} has shape {shapes}; the settings or the data have changed")
    for name in tensors:
        if name not in expected:
            raise UserError(f"{file} does not fit {type(model).__name__}: {name} is extra")


def save_state(file: Path, state: dict) -> None:
    """Write a training state, which may hold tensors, numbers, strings and containers of them."""
    write_recorded(file, lambda temporary: torch.save(state, temporary))


def load_state(file: Path | str, device: torch.device | str) -> dict:
    """Read a training state onto ``device``.

    Raises:
        MissingFileError: the file does not exist.
        UserError: the file is damaged.
    """
    check_recorded(file)
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise MissingFileError(f"there is no training state at {file}; the run cannot be resumed") from None
    except Exception as error:
        # Depending on where the file is damaged, torch raises any of a dozen exceptions
        raise UserError(f"{file} is truncated or damaged ({type(error).__name__}); start a new run") from None


def random_states() -> dict:
    """Return the states of the generators of Python, NumPy, PyTorch and CUDA, as types that load without pickle."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def gather_random_states(processes: int) -> dict | list[dict]:
    """Return what :func:`random_states` returns; a list with that of every process where there are several.

    Args:
        processes: processes of the run, all of which must call this.
    """
    own = random_states()
    if processes == 1:
        return own
    gathered: list[dict] = [{}] * processes
    torch.distributed.all_gather_object(gathered, own)
    return gathered


def restore_random_states(states: dict | list[dict]) -> None:
    """Set the generators of this process to the states that :func:`gather_random_states` or :func:`random_states` returned."""
    if isinstance(states, list):
        states = states[torch.distributed.get_rank()]
    version, keys, position = states["python"]
    random.setstate((version, tuple(keys), position))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


@contextlib.contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the generators of the program as they were before the block."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)
