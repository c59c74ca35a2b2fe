"""Time recommendations as a program asks for them: ``python -m benchmarks.serving``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recbole_echomamba import Config, get_model
from recbole_echomamba.data.vocabulary import write_vocabulary
from recbole_echomamba.training.checkpoint import save_weights
from recbole_echomamba.training.run_directory import WEIGHTS_FILE, write_settings


class Catalogue:
    """Stand in for the dataset of a run: the ids of users and items."""

    def __init__(self, config, items: int):
        ids = np.array(["[PAD]", *map(str, range(1, items + 1))])
        self.field2id_token = {config["USER_ID_FIELD"]: np.array(["[PAD]", "1"]), config["ITEM_ID_FIELD"]: ids}

    def num(self, field: str) -> int:
        return len(self.field2id_token[field])


def write_untrained_run(folder: Path, model: str, items: int, **settings) -> Path:
    """Write the run directory of a model with its first weights."""
    config = Config(model, "ml-100k", config_dict={"use_gpu": False, "show_progress": False, **settings})
    catalogue = Catalogue(config, items)
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    write_settings(folder, config)
    write_vocabulary(folder, catalogue, "")
    save_weights(get_model(model)(config, catalogue), folder / WEIGHTS_FILE)
    return folder
