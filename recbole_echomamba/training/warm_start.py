"""Begin a run with the weights of another one, on data that may have grown since.

The ids of the other run keep their numbers (:func:`.renumber_like_run`), new ids get the numbers after them. So the other run's
embeddings are the first rows of the new ones, and the rows of new ids are as they were initialised.
"""

from __future__ import annotations

from pathlib import Path

import torch

from recbole_echomamba.data.vocabulary import read_vocabulary
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.training.checkpoint import load_state, read_weights
from recbole_echomamba.training.run_directory import STATE_FILE, WEIGHTS_FILE


def start_from(trainer, directory: Path | str) -> None:
    """Load the weights of another run's best epoch, and its optimiser's moments where both have the same kind of optimiser.

    Args:
        trainer: a trainer before :meth:`.Trainer.fit`, whose dataset is numbered like the run.
        directory: the directory of the other run.

    Raises:
        MissingFileError: the run has no weights, no vocabulary or no training state.
        UserError: a file is damaged, or the other model has other parameters.
    """
    _, old = read_weights(Path(directory) / WEIGHTS_FILE)
    sizes = {len(texts) for texts in read_vocabulary(directory)[0].values()}
    new = trainer.model.state_dict()
    if old.keys() != new.keys():
        different = sorted(old.keys() ^ new.keys())[0]
        raise UserError(f"init_from: {directory} has other parameters than {trainer.config['model']}: {different}")
    with torch.no_grad():
        for name, tensor in new.items():
            _copy_rows(old[name], tensor, sizes, f"init_from: {name} of {directory}")
    state = load_state(Path(directory) / STATE_FILE, "cpu")["optimizer"]
    _load_moments(trainer.optimizer, state, sizes, str(directory))


def _copy_rows(old: torch.Tensor, new: torch.Tensor, sizes: set[int], name: str) -> None:
    """Copy a tensor into one of the same shape, or into the first rows of one that has a row for each id."""
    grown = new.dim() > 0 and len(old) in sizes and len(new) >= len(old) and old.shape[1:] == new.shape[1:]
    if old.shape != new.shape and not grown:
        raise UserError(
            f"{name} has shape {list(old.shape)}, this run needs {list(new.shape)}; keep the sizes of the model"
        )
    (new[: len(old)] if new.dim() else new).copy_(old)


def _load_moments(optimizer: torch.optim.Optimizer, state: dict, sizes: set[int], directory: str) -> None:
    """Continue with the moments of another optimiser of the same kind; rows of new ids begin with zeros."""
    if state["param_groups"][0].keys() != optimizer.param_groups[0].keys():
        # another kind of optimiser starts anew
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state["state"].items():
        for key, old in kept.items():
            is_moment = torch.is_tensor(old) and old.dim() > 0
            new = torch.zeros_like(parameters[number]) if is_moment else old
            if is_moment:
                _copy_rows(old, new, sizes, f"init_from: {key} of {directory}")
            optimizer.state[parameters[number]][key] = new
