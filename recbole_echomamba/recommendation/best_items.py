"""Find the items with the highest scores for a batch of histories."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_echomamba import ops
from recbole_echomamba.models.base import has_linear_scores
from recbole_echomamba.training.evaluation import check_linear_scores, check_scores

ROWS_TO_ENCODE = 256
"""Histories that a CPU encodes at once: with more, memory goes back to the system and is asked for again, twice as slow."""


@torch.no_grad()
def find_best(
    model,
    dataset,
    window,
    topk: int,
    allowed: Tensor | list[Tensor],
    excluded: tuple[Tensor, Tensor] | None,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Return the highest scores for each history and their items, each ``[B, k]``, on the CPU; of equal scores the smaller ids.

    Models that :func:`.has_linear_scores` rank items by blocks, unless each row has items of its own.

    Args:
        model: the trained model.
        dataset: its dataset.
        window: what the model reads, B histories in RecBole's columns, on the model's device.
        topk: items for each history, if there are as many; where fewer can be chosen, the scores end with ``-inf``.
        allowed: the items to choose from: ``[n_items]`` booleans, or the internal ids of each row.
        excluded: rows and items that are not chosen.
        name: what to call the model in an error.

    Raises:
        UserError: a score is NaN or infinite.
    """
    if has_linear_scores(type(model)) and isinstance(allowed, Tensor):
        weight = model.item_embedding.weight
        rows = ROWS_TO_ENCODE if weight.device.type == "cpu" else len(window)
        parts = [window[start : start + rows] for start in range(0, len(window), rows)]
        encoded = torch.cat([model.encode_batch(part) for part in parts])
        check_linear_scores(encoded, weight[1:], name, model)
        device = encoded.device
        if excluded is not None:
            excluded = (excluded[0].to(device), excluded[1].to(device))
        scores, items = ops.linear_top_k(encoded, weight, topk, allowed.to(device), excluded)
        return scores.float().cpu(), items.cpu()
    scores = score_items(model, dataset, window, name)
    scores.masked_fill_(~_mark(allowed, scores), -torch.inf)
    if excluded is not None:
        scores[excluded] = -torch.inf
    return ops.top_k(scores, min(topk, scores.shape[1]))


@torch.no_grad()
def score_items(model, dataset, window, name: str) -> Tensor:
    """Return the score of every item for each history, ``[B, n_items]``, on the CPU; see :func:`find_best`."""
    # a model may also score tokens of its own beyond the items
    scores = _call_model(model, dataset, window).view(len(window), -1)[:, : dataset.item_num].float().cpu()
    check_scores(scores[:, 1:], name, model)
    return scores


def _mark(allowed: Tensor | list[Tensor], scores: Tensor) -> Tensor:
    """Return the items of each row as booleans, ``[n_items]`` or ``[B, n_items]``."""
    if isinstance(allowed, Tensor):
        return allowed
    marked = torch.zeros_like(scores, dtype=torch.bool)
    for row, items in enumerate(allowed):
        marked[row, items] = True
    return marked


def _call_model(model, dataset, window) -> Tensor:
    """Return the score of every item for each history; DIN and DIEN score one item at a time, as in RecBole's evaluation."""
    try:
        return model.full_sort_predict(window)
    except NotImplementedError:
        items = dataset.get_item_feature().to(window[dataset.uid_field].device)
        scores = []
        for row in range(len(window)):
            repeated = window[row : row + 1].repeat_interleave(dataset.item_num)
            repeated.update(items)
            scores.append(model.predict(repeated))
        return torch.cat(scores)
