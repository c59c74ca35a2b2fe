"""The ids of a run without its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_echomamba.data.vocabulary import read_vocabulary


class DataNeeded(AttributeError):
    """Something reads more of a dataset than the ids of users and items."""


class RunIds:
    """Stand in for the dataset of a run where the data are not there: the ids of users and items, and nothing else.

    Every other attribute raises :class:`DataNeeded`.

    Args:
        config: the settings of the run.
        directory: the run directory.

    Attributes:
        field2token_id: the internal id of each text, by field.
        field2id_token: the texts in the order of their internal ids, by field.

    Raises:
        MissingFileError: the run has no vocabulary.
        UserError: the vocabulary is damaged.
    """

    def __init__(self, config, directory: Path | str):
        self.config = config
        self.dataset_name = config["dataset"]
        self.uid_field = config["USER_ID_FIELD"]
        self.iid_field = config["ITEM_ID_FIELD"]
        self.item_list_length_field = config["ITEM_LIST_LENGTH_FIELD"]
        self.max_item_list_len = config["MAX_ITEM_LIST_LENGTH"]
        self.field2id_token, _ = read_vocabulary(directory)
        self.field2token_id = {
            field: {text: number for number, text in enumerate(texts)} for field, texts in self.field2id_token.items()
        }
        self.item_num = self.num(self.iid_field)
        self.user_num = self.num(self.uid_field)

    def __getattr__(self, name: str):
        raise DataNeeded(f"the run directory alone does not hold {name} of the data")

    def num(self, field: str) -> int:
        """Return the number of ids of a field, the padding included."""
        if field not in self.field2id_token:
            raise DataNeeded(f"the run directory alone does not hold the column {field}")
        return len(self.field2id_token[field])

    def id2token(self, field: str, ids) -> np.ndarray:
        """Return the dataset's own ids of internal ids."""
        return self.field2id_token[field][np.asarray(ids)]

    def empty_rows(self, n: int) -> dict[str, Tensor]:
        """Return the columns that a model reads of a history, filled with zeros: the item list and its length, times, user."""
        suffix = self.config["LIST_SUFFIX"]
        return {
            self.uid_field: torch.zeros(n, dtype=torch.long),
            self.iid_field + suffix: torch.zeros(n, self.max_item_list_len, dtype=torch.long),
            self.config["TIME_FIELD"] + suffix: torch.zeros(n, self.max_item_list_len),
            self.item_list_length_field: torch.zeros(n, dtype=torch.long),
        }
