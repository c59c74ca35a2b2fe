"""A small dataset and a finished run to attack."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from recbole_echomamba import run

USERS, ITEMS, HISTORY = 40, 15, 9

SETTINGS = {
    "MAX_ITEM_LIST_LENGTH": 8,
    "hidden_size": 16,
    "d_state": 4,
    "epochs": 2,
    "topk": [5, 10],
    "train_batch_size": 64,
    "eval_batch_size": 64,
    "show_progress": False,
    "user_inter_num_interval": "[0,inf)",
    "item_inter_num_interval": "[0,inf)",
}


@dataclass(frozen=True)
class Scene:
    """Where the data and the finished run are.

    Attributes:
        data: the folder that holds the dataset ``small``.
        run: the run directory.
    """

    data: Path
    run: Path

    @property
    def settings(self) -> dict:
        """The settings of a run on the data."""
        return {**SETTINGS, "data_path": str(self.data)}


def write_dataset(folder: Path, seed: int = 0) -> None:
    """Write the dataset ``small`` with an ``.item`` file of titles, in an order that is not that of time."""
    (folder / "small").mkdir(parents=True)
    draw = random.Random(seed)
    rows = []
    for user in range(USERS):
        start = draw.randrange(ITEMS)
        rows += [
            (f"u{user}", f"i{(start + step) % ITEMS}", f"{1_400_000_000 + 86_400 * step}") for step in range(HISTORY)
        ]
    draw.shuffle(rows)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(row) for row in rows)]
    (folder / "small" / "small.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    titles = ["item_id:token\ttitle:token_seq", *(f"i{item}\tFilm {item}" for item in range(ITEMS))]
    (folder / "small" / "small.item").write_text("\n".join(titles) + "\n", encoding="utf-8")


def build_scene(folder: Path) -> Scene:
    """Write the dataset and train a run on it, both in ``folder``."""
    write_dataset(folder / "data")
    settings = {**SETTINGS, "data_path": str(folder / "data"), "checkpoint_dir": str(folder / "saved")}
    result = run("Mamba4Rec", "small", config_dict=settings)
    return Scene(folder / "data", Path(result["run_directory"]))
