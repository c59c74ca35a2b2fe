"""Read a dataset that its user has split into files, such as ``NAME.train.inter``, with a list of past items in every row.

RecBole pads these lists to the longest of the data and reads past the end of longer ones; here every list has
``MAX_ITEM_LIST_LENGTH`` slots and holds the newest items.
"""

from __future__ import annotations

from pathlib import Path

import torch
from recbole.utils import FeatureSource
from torch import Tensor

from recbole_echomamba.data.compatible_dataset import CompatibleDataset
from recbole_echomamba.system.errors import UserError


class SplitFilesDataset(CompatibleDataset):
    """Read the files that ``benchmark_filename`` names; the rows are the samples, as in RecBole."""

    @property
    def _item_list(self) -> str:
        return self.iid_field + self.config["LIST_SUFFIX"]

    def _set_alias(self, alias_name, default_value):
        # without this the ids of past items and of targets would differ
        own = [self._item_list] if alias_name == "item_id" else []
        super()._set_alias(alias_name, [*default_value, *own])

    def _load_feat(self, filepath, source):
        frame = super()._load_feat(filepath, source)
        if source != FeatureSource.INTERACTION:
            return frame
        for field in (self.uid_field, self.iid_field, self._item_list):
            if frame is None or field not in frame:
                raise UserError(
                    f"{filepath}: column {field} is missing or not in load_col; a split file has a user, a list of past items "
                    f"and the item that follows it in every row; set load_col: None and add {field}, or leave "
                    "benchmark_filename out to have the histories built from single interactions"
                )
        for field in (self.uid_field, self.iid_field):
            _refuse_rows(filepath, frame[field].isna(), f"there is no {field}")
        _refuse_rows(filepath, frame[self._item_list].map(len) == 0, f"{self._item_list} is empty")
        for field in self._list_fields(frame):
            frame[field] = [row[-self.max_item_list_len :] for row in frame[field]]
            self.field2seqlen[field] = self.max_item_list_len
        return frame

    def _list_fields(self, columns) -> list[str]:
        suffix = self.config["LIST_SUFFIX"]
        return [field + suffix for field in columns if field + suffix in columns]

    def _benchmark_presets(self):
        # RecBole's own method works only where the item field is called item_id
        self.item_id_list_field = self._item_list
        super()._benchmark_presets()
        # under pandas 3 RecBole's own method writes the number of rows
        self.inter_feat[self.item_list_length_field] = [len(row) for row in self.inter_feat[self._item_list]]

    def _change_feat_format(self):
        super()._change_feat_format()
        for field in self._list_fields(self.inter_feat.columns):
            self.inter_feat.interaction[field] = _pad(self.inter_feat[field], self.max_item_list_len)


def _refuse_rows(file: str, bad, reason: str) -> None:
    if bad.any():
        # the header is line 1
        raise UserError(
            f"{Path(file)}, line {int(bad.to_numpy().argmax()) + 2}: {reason}; fill it in or remove the row"
        )


def _pad(lists: Tensor, slots: int) -> Tensor:
    """Append zeros to lists ``[n, l, ...]``, so that they have ``slots`` slots."""
    missing = lists.new_zeros(len(lists), slots - lists.shape[1], *lists.shape[2:])
    return torch.cat([lists, missing], dim=1)
