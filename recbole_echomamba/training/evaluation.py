"""Collect what RecBole's metrics need, and the rank of every target."""

from __future__ import annotations

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.ranks import is_distributed

PER_USER_KEYS = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")
"""The entries of RecBole's struct that have one row per user."""


class RankCollector(Collector):
    """Extend RecBole's collector by the rank of each target among all items.

    RecBole ranks with ``topk``, which orders ties arbitrarily, so a model whose scores are all equal may look good. The ranks
    collected here count every tie against the model.

    Attributes:
        tied: the number of targets whose score another item shares.
    """

    def __init__(self, config):
        super().__init__(config)
        self.start()

    def start(self) -> None:
        """Discard the ranks of the last evaluation."""
        self._columns: dict[str, list[torch.Tensor]] = {"user": [], "item": [], "rank": [], "history": []}
        self.tied = 0

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        """Collect one batch.

        Args:
            scores_tensor: the score of every item or candidate, ``[B, n_items]``.
            interaction: the batch, ``B`` rows.
            positive_u: the row of each target in the batch, ``[targets]``.
            positive_i: the internal item id of each target, ``[targets]``.

        Raises:
            UserError: a score is NaN.
        """
        if torch.isnan(scores_tensor).any():
            raise UserError(f"{self.config['model']} gave NaN scores; lower learning_rate or set clip_grad_norm")
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if positive_u is None or len(interaction) != len(scores_tensor):
            # The candidates are sampled: a rank among them is not a rank among all items
            return
        device = scores_tensor.device
        rows, items = positive_u.to(device), positive_i.to(device)
        scores, target_score = scores_tensor[rows], scores_tensor[rows, items][:, None]
        rank = (scores >= target_score).sum(1)
        best_rank = (scores > target_score).sum(1) + 1
        self.tied += int((rank > best_rank).sum())
        users = interaction[self.config["USER_ID_FIELD"]].to(device)
        lengths = interaction[self.config["ITEM_LIST_LENGTH_FIELD"]].to(device)
        batch = {"user": users[rows], "item": items, "rank": rank, "history": lengths[rows]}
        for name, column in batch.items():
            self._columns[name].append(column.cpu())

    def get_data_struct(self):
        """Return what the metrics are computed from, over the users of all processes."""
        struct = DataStruct()
        # RecBole's own method calls cpu() on numbers too, and fails for metrics such as ItemCoverage
        for key, value in self.data_struct._data_dict.items():
            struct.set(key, value.cpu() if isinstance(value, torch.Tensor) else value)
        for key in PER_USER_KEYS:
            self.data_struct._data_dict.pop(key, None)
        if is_distributed(self.config):
            self._gather_users(struct)
        return struct

    def ranks(self) -> dict[str, np.ndarray]:
        """Return the ranks of the last evaluation.

        Returns:
            ``user`` and ``item`` (internal ids), ``rank`` (1 is best) and ``history`` (items shown), each ``[targets]``.
        """
        return {
            name: torch.cat(batches).numpy() if batches else np.zeros(0, np.int64)
            for name, batches in self._columns.items()
        }

    def _gather_users(self, struct: DataStruct) -> None:
        """Replace the rows of this process, in ``struct`` and in the ranks, by those of all processes."""
        gathered = _gather({key: struct.get(key) for key in PER_USER_KEYS if key in struct})
        for key, tensors in gathered.items():
            struct.set(key, torch.cat(tensors))
        columns = _gather({name: torch.cat(batches) for name, batches in self._columns.items() if batches})
        self._columns = {name: columns.get(name, []) for name in self._columns}


def _gather(own: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Return the tensors of all processes by name, in the order of their ranks.

    A process without a sample in its share contributes none.
    """
    gathered = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    names = dict.fromkeys(name for part in gathered for name in part)
    return {name: [part[name] for part in gathered if name in part] for name in names}
