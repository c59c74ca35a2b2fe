"""The runs kept under a folder: those with a result, and those that can be gone on with."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from recbole_echomamba.config.config import NOT_IN_HASH, Config
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.training import checkpoint


def finished(folder: Path) -> dict[tuple[str, str, int], dict]:
    """The results under a folder by ``config_hash, data_hash, seed``; of equal ones the latest.

    Raises ValueError naming a ``result.json`` that is damaged.
    """
    found = {}
    for file in sorted(folder.glob(f"*/{checkpoint.RESULT}")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            key = (result["config_hash"], result["data_hash"], result["seed"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error}); remove its folder to do the run again") from None
        found[key] = {**result, "run_directory": str(file.parent)}
    return found


def unfinished(folder: Path, config: Config, data_hash: str, seed: int) -> Path | None:
    """The latest run directory without a result that has the settings of ``config``, these data and this seed."""
    wanted = _computed(checkpoint.settings_of(config))
    for directory in sorted(folder.glob(f"{config['model']}-{config['dataset']}-*"), reverse=True):
        if (directory / checkpoint.RESULT).exists():
            continue
        with contextlib.suppress(ValueError, FileNotFoundError):  # what is damaged or was never written is begun anew
            settings = checkpoint.read_settings(directory)
            if settings.get("seed") != seed or _computed(settings) != wanted:
                continue
            if checkpoint.load_state(directory / checkpoint.STATE, "cpu")["data_hash"] == data_hash:
                return directory
    return None


def _computed(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key not in NOT_IN_HASH}
