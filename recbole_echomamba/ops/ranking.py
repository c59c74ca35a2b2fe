"""Rank the outputs of a linear layer without holding them: the scores of 2,048 histories over two million items take 19 GB.

Scores are computed and read a block of rows and items at a time, while they are in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = {"cpu": (1024, 1024), "cuda": (1024, 2**16)}
"""Rows and items of a block of scores: 4 MiB on a CPU; on a GPU, enough to keep it busy."""

MAX_WIDENING = 16
"""How many times as many items a block holds where there are fewer rows, so that few rows do not pay for many blocks."""


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each row, and where they are; of equal scores the first.

    Args:
        scores: ``[B, n]``. Minus infinity stands for no candidate; several in a row are ordered arbitrarily.
        k: how many, at most ``n``.

    Returns:
        The scores ``[B, k]``, highest first, and their columns ``[B, k]``.
    """
    more = min(k + 1, scores.shape[1])
    best, columns = scores.topk(more)
    equal = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(1)
    if equal.any():
        # topk orders equal scores arbitrarily
        in_order, places = scores[equal].sort(dim=1, descending=True, stable=True)
        best[equal], columns[equal] = in_order[:, :more], places[:, :more]
    return best[:, :k], columns[:, :k]


def linear_top_k(
    encoded: Tensor,
    weight: Tensor,
    k: int,
    allowed: Tensor | None = None,
    excluded: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the highest of ``encoded @ weight.T`` in each row, and their items; of equal scores the smallest items.

    Args:
        encoded: ``[B, d]``.
        weight: ``[n, d]``, one row per item.
        k: how many; ``n`` if it is larger.
        allowed: ``[n]`` booleans, the items to choose from; all by default.
        excluded: rows and items ``[E]`` that are not chosen.

    Returns:
        The scores ``[B, k]``, highest first, and their items ``[B, k]``. Where fewer than ``k`` can be chosen, the scores end
        with minus infinity, and the items there mean nothing.
    """
    k = min(k, len(weight))
    best = encoded.new_full((len(encoded), k), -torch.inf)
    items = torch.zeros(len(encoded), k, dtype=torch.long, device=encoded.device)
    for rows, bounds in _split(encoded, weight):
        hidden = _Cells(excluded, rows, bounds)
        for block, scores in _score_blocks(encoded[rows], weight, bounds):
            if allowed is not None and not (own := allowed[bounds[block] : bounds[block + 1]]).all():
                scores.masked_fill_(~own, -torch.inf)
            if cells := hidden.in_block(block):
                scores[cells] = -torch.inf
            if len(bounds) == 2:
                # a single block
                best[rows], items[rows] = top_k(scores, k)
            else:
                _keep_best(best[rows], items[rows], scores, bounds[block])
    return best, items


def linear_rank(
    encoded: Tensor, weight: Tensor, target: Tensor, seen: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rank of one item per row in ``encoded @ weight.T``; every tie counts against it.

    Args:
        encoded: ``[B, d]``.
        weight: ``[n, d]``, one row per item.
        target: ``[B]``, the item of each row.
        seen: rows and items ``[E]`` to count separately.

    Returns:
        Each ``[B]``: the rank, 1 for the best; whether another item has the same score; how many items of ``seen``, the target
        left out, score at least as high as the target.
    """
    at_least, above, seen_at_least = torch.zeros(3, len(encoded), dtype=torch.long, device=encoded.device)
    if seen is not None:
        other = target[seen[0]] != seen[1]
        seen = (seen[0][other], seen[1][other])
    targets = (torch.arange(len(encoded), device=encoded.device), target)
    for rows, bounds in _split(encoded, weight):
        at_target = _score_targets(encoded[rows], weight, target[rows], bounds[1])
        targets_in, seen_in = _Cells(targets, rows, bounds), _Cells(seen, rows, bounds)
        for block, scores in _score_blocks(encoded[rows], weight, bounds):
            if cells := targets_in.in_block(block):
                scores[cells] = at_target[cells[0], 0]
            if cells := seen_in.in_block(block):
                seen_at_least[rows].index_add_(0, cells[0], (scores[cells] >= at_target[cells[0], 0]).long())
            # sums of floats are several times faster than counts of booleans, and exact for so few
            above[rows] += torch.gt(scores, at_target, out=torch.empty_like(scores)).sum(1).long()
            at_least[rows] += scores.ge_(at_target).sum(1).long()
    return at_least, at_least > above + 1, seen_at_least


class _Cells:
    """Find given cells of the scores by block of items.

    Args:
        cells: rows and items ``[E]``, or none.
        rows: the rows that are scored; others are left out.
        bounds: the first item of each block, and the number of items.
    """

    def __init__(self, cells: tuple[Tensor, Tensor] | None, rows: slice, bounds: list[int]):
        self._bounds = bounds
        self._ends = [0] * len(bounds)
        if cells is None:
            return
        scored = (cells[0] >= rows.start) & (cells[0] < rows.stop)
        self._items, order = cells[1][scored].sort()
        self._rows = cells[0][scored][order] - rows.start
        self._ends = torch.searchsorted(self._items, torch.tensor(bounds, device=order.device)).tolist()

    def in_block(self, block: int) -> tuple[Tensor, Tensor] | None:
        """Return the rows and columns within a block of scores, or ``None`` where there are none."""
        start, stop = self._ends[block : block + 2]
        return (self._rows[start:stop], self._items[start:stop] - self._bounds[block]) if start < stop else None


def _split(encoded: Tensor, weight: Tensor) -> Iterator[tuple[slice, list[int]]]:
    """Yield blocks of rows, each with the bounds of the blocks of items; these are of nearly equal size."""
    rows, width = BLOCK.get(encoded.device.type, BLOCK["cuda"])
    for start in range(0, len(encoded), rows):
        stop = min(start + rows, len(encoded))
        blocks = -(-len(weight) // (width * min(rows // (stop - start), MAX_WIDENING)))
        yield slice(start, stop), [len(weight) * block // blocks for block in range(blocks + 1)]


def _score_blocks(encoded: Tensor, weight: Tensor, bounds: list[int]) -> Iterator[tuple[int, Tensor]]:
    for block in range(len(bounds) - 1):
        yield block, encoded @ weight[bounds[block] : bounds[block + 1]].T


def _score_targets(encoded: Tensor, weight: Tensor, target: Tensor, width: int) -> Tensor:
    """Score one item per row, ``[B, 1]``, by products of the shape of a block: another shape may round otherwise."""
    at_target = []
    for start in range(0, len(target), width):
        columns = torch.arange(start, start + width, device=target.device) % len(target)
        at_target.append((encoded @ weight[target[columns]].T)[start : start + width].diagonal())
    return torch.cat(at_target)[:, None]


def _keep_best(best: Tensor, items: Tensor, scores: Tensor, first_item: int) -> None:
    """Update the best scores and items so far, ``[B, k]``, by a block of scores of later items."""
    k = best.shape[1]
    # an equal score comes later, and does not count
    better = (scores.amax(1) > best[:, -1]).nonzero()[:, 0]
    if not len(better):
        return
    candidates = torch.cat([best[better], scores[better]], 1)
    best[better], columns = top_k(candidates, k)
    earlier = items[better].gather(1, columns.clamp(max=k - 1))
    items[better] = torch.where(columns < k, earlier, columns - k + first_item)
