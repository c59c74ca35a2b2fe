"""RecBole's metrics, and the rank of every target beside them."""

from __future__ import annotations

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct

from recbole_echomamba.system.errors import UserError

PER_USER = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")
"""The entries of RecBole's struct that have a row per user."""


class RankCollector(Collector):
    """RecBole's collector that also keeps each target's rank under full ranking.

    RecBole ranks by ``topk``, which breaks ties as it likes: a model whose scores are all equal may look good. The ranks
    kept here count every tie against the model.
    """

    def __init__(self, config):
        super().__init__(config)
        self.start()

    def start(self) -> None:
        """Forget the ranks of the last evaluation."""
        self._columns: dict[str, list[torch.Tensor]] = {"user": [], "item": [], "rank": [], "history": []}
        self.tied = 0

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        """Add one batch: scores ``[B, n_items]`` and the (row, item) pairs that are targets. Refuses NaN scores."""
        if torch.isnan(scores_tensor).any():
            raise UserError(f"{self.config['model']} gave NaN scores; lower learning_rate or set clip_grad_norm")
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if positive_u is None or len(interaction) != len(scores_tensor):
            return  # sampled candidates: a rank among them says nothing about the catalogue
        positive_u, positive_i = positive_u.to(scores_tensor.device), positive_i.to(scores_tensor.device)
        target = scores_tensor[positive_u, positive_i][:, None]
        rows = scores_tensor[positive_u]
        rank = (rows >= target).sum(1)
        self.tied += int((rank - (rows > target).sum(1) > 1).sum())
        users, lengths = (
            interaction[self.config[key]].to(positive_u.device) for key in ("USER_ID_FIELD", "ITEM_LIST_LENGTH_FIELD")
        )
        columns = (users[positive_u], positive_i, rank, lengths[positive_u])
        for kept, column in zip(self._columns.values(), columns, strict=True):
            kept.append(column.cpu())

    def get_data_struct(self):
        """What the metrics are computed from; of several processes, the users of all, so that sums are over users."""
        # RecBole's own code moves numbers to the CPU as if they were tensors, and fails for ItemCoverage and its like
        struct = DataStruct()
        for key, value in self.data_struct._data_dict.items():
            struct.set(key, value.cpu() if isinstance(value, torch.Tensor) else value)
        for key in PER_USER:
            self.data_struct._data_dict.pop(key, None)
        if self.config["single_spec"]:
            return struct
        own = {key: struct.get(key) for key in PER_USER if key in struct}
        for key, parts in _of_all(own).items():
            struct.set(key, torch.cat(parts))
        columns = _of_all({name: torch.cat(kept) for name, kept in self._columns.items() if kept})
        self._columns = {name: columns.get(name, []) for name in self._columns}
        return struct

    def ranks(self) -> dict[str, np.ndarray]:
        """``user``, ``item`` (internal ids), ``rank`` (1 is best) and ``history`` (length), one entry per target."""
        return {name: torch.cat(c).numpy() if c else np.zeros(0, np.int64) for name, c in self._columns.items()}


def _of_all(own: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Every process's tensors by name; one whose shard was empty has none."""
    gathered = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    names = dict.fromkeys(name for part in gathered for name in part)
    return {name: [part[name] for part in gathered if name in part] for name in names}
