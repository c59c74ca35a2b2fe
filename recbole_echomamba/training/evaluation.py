"""Collect what RecBole's metrics need, and the rank of every target under both protocols of the field.

RecBole ranks all items, those of the history too; most other code takes the items of the history out of the ranking. The
two differ: on ML-1M one checkpoint of ours had a test NDCG@10 of .155 the first way and .203 the second. Papers rarely say which
they report, so both are computed in one pass; see docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct

from recbole_echomamba import ops
from recbole_echomamba.config.checks import as_list
from recbole_echomamba.data.dataloader import limit_batch_size
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.ranks import is_distributed

PER_USER_KEYS = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")
"""The entries of RecBole's struct that have one row per user."""


@dataclass
class LinearScores:
    """The scores of all items as a product that is not computed: ``encoded [B, d]`` times ``weight [n_items, d]``."""

    encoded: torch.Tensor
    weight: torch.Tensor


class RankCollector(Collector):
    """Extend RecBole's collector by the rank of each target among all items.

    RecBole ranks with ``topk``, which orders ties arbitrarily, so a model whose scores are all equal may look good. Here every
    tie counts against the model, in the ranks and in RecBole's metrics. ``rank`` is among all items, ``rank_unseen`` among those
    that the user has not interacted with before the target.

    Attributes:
        model: the model that gives the scores, to name its parameter where they are not finite; optional.
    """

    def __init__(self, config):
        super().__init__(config)
        self.model: torch.nn.Module | None = None
        self.start()

    @property
    def tied(self) -> int:
        """The number of targets of the last evaluation whose score another item shares."""
        return sum(int(batch.sum()) for batch in self._columns["tied"])

    def start(self, after_batch: Callable[[], object] | None = None) -> None:
        """Discard the ranks of the last evaluation.

        Args:
            after_batch: called after each batch of this evaluation.
        """
        self._after_batch = after_batch
        columns = ("user", "item", "rank", "rank_unseen", "history", "tied")
        self._columns: dict[str, list[torch.Tensor]] = {name: [] for name in columns}

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        """Collect one batch.

        Args:
            scores_tensor: the score of every item or candidate, ``[B, n_items]``, or :class:`LinearScores`; for metrics of
                single scores, such as AUC, the score of each row, ``[B]``.
            interaction: the batch, ``B`` rows.
            positive_u: the row of each target in the batch, ``[targets]``.
            positive_i: the internal item id of each target, ``[targets]``.

        Raises:
            UserError: a score is not finite.
        """
        if isinstance(scores_tensor, LinearScores):
            self._collect_by_blocks(scores_tensor, interaction, positive_i)
            return
        per_row = scores_tensor.dim() == 1
        sampled = per_row or positive_u is None or len(interaction) != len(scores_tensor)
        # RecBole gives the padding item, and items that are no candidates, a score of minus infinity
        checked = scores_tensor if sampled else scores_tensor[:, 1:]
        check_scores(checked, self.config["model"], self.model, allow_minus_infinity=sampled and not per_row)
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if self._after_batch is not None:
            self._after_batch()
        if sampled:
            # The candidates are sampled: a rank among them is not a rank among all items
            return
        device = scores_tensor.device
        rows, items = positive_u.to(device), positive_i.to(device)
        scores, target_score = scores_tensor[rows], scores_tensor[rows, items][:, None]
        rank = (scores >= target_score).sum(1)
        best_rank = (scores > target_score).sum(1) + 1
        tied = rank > best_rank
        if tied.any() and "rec.topk" in self.data_struct:
            self._place_tied_targets(rows[tied], rank[tied], len(scores_tensor))
        batch = {"item": items, "rank": rank, "tied": tied}
        seen = getattr(interaction, "seen", None)
        if seen is not None and torch.equal(rows.cpu(), torch.arange(len(interaction))):
            batch["rank_unseen"] = rank - _count_seen_above(scores, target_score, items, seen)
        self._record(interaction, rows, batch)

    def _collect_by_blocks(self, scores: LinearScores, interaction, positive_i: torch.Tensor) -> None:
        """Collect one batch with one target in each row; what is collected is the same as from all scores."""
        device = scores.encoded.device
        # without the padding item: item 1 is row 0
        encoded, weight, target = scores.encoded, scores.weight[1:], positive_i.to(device) - 1
        check_linear_scores(encoded, weight, self.config["model"], self.model)
        seen = getattr(interaction, "seen", None)
        if seen is not None:
            seen = (seen[0].to(device), seen[1].to(device) - 1)
        rank, tied, seen_at_least = ops.linear_rank(encoded, weight, target, seen)
        k = max(self.topk)
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", ops.linear_top_k(encoded, weight, k)[1] + 1)
        if self.register.need("rec.topk"):
            hits = rank[:, None] == torch.arange(1, k + 1, device=device)
            # RecBole's last column is the number of targets
            self.data_struct.update_tensor("rec.topk", torch.nn.functional.pad(hits.long(), (0, 1), value=1))
        batch = {"item": target + 1, "rank": rank, "tied": tied}
        if seen is not None:
            batch["rank_unseen"] = rank - seen_at_least
        self._record(interaction, torch.arange(len(rank)), batch)
        if self._after_batch is not None:
            self._after_batch()

    def _record(self, interaction, rows: torch.Tensor, batch: dict[str, torch.Tensor]) -> None:
        """Keep the columns of a batch, ``[targets]``, with the user and the length of the history in ``rows``."""
        batch["user"] = interaction[self.config["USER_ID_FIELD"]].to(rows.device)[rows]
        batch["history"] = interaction[self.config["ITEM_LIST_LENGTH_FIELD"]].to(rows.device)[rows]
        for name, column in batch.items():
            self._columns[name].append(column.cpu())

    def _place_tied_targets(self, rows: torch.Tensor, rank: torch.Tensor, n_rows: int) -> None:
        """Put targets that tie at their rank in what RecBole computes its metrics from, one target in each row.

        Args:
            rows: rows of the batch.
            rank: the rank of their targets.
            n_rows: the number of rows of the batch, the last ones collected.
        """
        # the columns are the hits at each rank, and in the end the number of targets
        hits = self.data_struct.get("rec.topk")[-n_rows:, :-1]
        hits[rows] = (torch.arange(1, hits.shape[1] + 1, device=hits.device) == rank[:, None]).to(hits.dtype)

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
            ``user`` and ``item`` (internal ids), ``rank`` and ``rank_unseen`` (1 is best; the second is empty for data that
            RecBole's own dataset class holds) and ``history`` (items shown), each ``[targets]``.
        """
        return {
            name: torch.cat(batches).numpy() if batches else np.zeros(0, np.int64)
            for name, batches in self._columns.items()
        }

    def result_unseen(self) -> dict[str, float]:
        """Return the metrics of the last evaluation with the items of each history taken out of the ranking.

        Only metrics that follow from the rank of a single target: hit, recall, precision, NDCG, MRR and MAP. Empty where
        ``rank_unseen`` is.
        """
        ranks = self.ranks()["rank_unseen"]
        if not len(ranks):
            return {}
        decimals = self.config["metric_decimal_place"]
        found = metrics_of_ranks(ranks, as_list(self.config["metrics"]), as_list(self.config["topk"]))
        return {name: round(value, decimals) for name, value in found.items()}

    def _gather_users(self, struct: DataStruct) -> None:
        """Replace the rows of this process, in ``struct`` and in the ranks, by those of all processes."""
        gathered = _gather({key: struct.get(key) for key in PER_USER_KEYS if key in struct})
        for key, tensors in gathered.items():
            struct.set(key, torch.cat(tensors))
        columns = _gather({name: torch.cat(batches) for name, batches in self._columns.items() if batches})
        self._columns = {name: columns.get(name, []) for name in self._columns}


def check_scores(
    scores: torch.Tensor, name: str, model: torch.nn.Module | None, allow_minus_infinity: bool = False
) -> None:
    """Check that scores can be ranked.

    Args:
        scores: any scores.
        name: the name of the model.
        model: the model, to name the parameter that is not finite.
        allow_minus_infinity: whether minus infinity stands for an item that is no candidate.

    Raises:
        UserError: a score is NaN or infinite.
    """
    bad = ~torch.isfinite(scores)
    if allow_minus_infinity:
        bad &= scores != -torch.inf
    if not bad.any():
        return
    parameters = model.named_parameters() if model is not None else ()
    broken = next((parameter for parameter, value in parameters if not torch.isfinite(value).all()), None)
    where = (
        f"its parameter {broken} is not finite"
        if broken
        else "all its parameters are finite, so they have grown too large"
    )
    kinds = "NaN" if torch.isnan(scores[bad]).any() else "infinite"
    raise UserError(
        f"{name} gave {kinds} scores ({where}); train again with a lower learning_rate or with clip_grad_norm"
    )


def check_linear_scores(encoded: torch.Tensor, weight: torch.Tensor, name: str, model: torch.nn.Module) -> None:
    """Check that the scores ``encoded @ weight.T`` can be ranked, without computing them where none can overflow.

    Args:
        encoded: ``[B, d]``.
        weight: ``[n, d]``.
        name: the name of the model.
        model: the model, to name the parameter that is not finite.

    Raises:
        UserError: a score is NaN or infinite.
    """
    # a norm would be 25 times slower
    largest = [torch.stack(part.aminmax()).abs().max() for part in (encoded, weight)]
    if torch.isfinite(largest[0] * largest[1] * encoded.shape[1]):
        return
    for rows in encoded.split(limit_batch_size(len(weight), len(encoded))):
        check_scores(rows @ weight.T, name, model)


GAINS = {
    "hit": lambda rank, k: np.ones_like(rank, dtype=float),
    "recall": lambda rank, k: np.ones_like(rank, dtype=float),
    "precision": lambda rank, k: np.full_like(rank, 1 / k, dtype=float),
    "ndcg": lambda rank, k: 1 / np.log2(rank + 1),
    "mrr": lambda rank, k: 1 / rank,
    "map": lambda rank, k: 1 / rank,
}
"""What a single target at a rank up to ``k`` adds to a metric, as RecBole defines it."""


def metrics_of_ranks(ranks: np.ndarray, metrics: list[str], topk: list[int]) -> dict[str, float]:
    """Compute metrics from the rank of one target per user: ``name@k`` to the mean over ``ranks [targets]``."""
    found = {}
    for name in map(str.lower, metrics):
        for k in topk:
            if name in GAINS:
                found[f"{name}@{k}"] = float(np.where(ranks <= k, GAINS[name](ranks, k), 0.0).mean())
    return found


def _count_seen_above(scores: torch.Tensor, target_score: torch.Tensor, items: torch.Tensor, seen) -> torch.Tensor:
    """Count the items of each history, the target itself left out, that score at least as high as the target: ``[B]``."""
    rows, seen_items = (part.to(scores.device) for part in seen)
    above = (scores[rows, seen_items] >= target_score[rows, 0]) & (seen_items != items[rows])
    return torch.bincount(rows[above], minlength=len(scores))


def _gather(own: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Return the tensors of all processes by name, in the order of their ranks.

    A process without a sample in its share contributes none.
    """
    gathered = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    names = dict.fromkeys(name for part in gathered for name in part)
    return {name: [part[name] for part in gathered if name in part] for name in names}
