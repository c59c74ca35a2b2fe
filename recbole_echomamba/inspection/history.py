"""Show which items of a user's history the recommendations came from."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_echomamba.data.dataloader import limit_batch_size
from recbole_echomamba.data.histories import Histories, HistoryBatch
from recbole_echomamba.recommendation.files import read_titles
from recbole_echomamba.recommendation.ids import select_users
from recbole_echomamba.recommendation.recommender import Recommender
from recbole_echomamba.report import Table
from recbole_echomamba.system.errors import MissingFileError, UserError

RECOMMENDATIONS = 3
"""The number of recommendations that are explained."""

SHOWN_ITEMS = 8
"""The number of items of the history that are listed for each recommendation: those with the largest effect."""


@dataclass
class Explanation:
    """Hold the recommendations for a user, and what each item of the history did for them.

    Attributes:
        items: internal ids of the history that the model reads, oldest first, ``[n]``.
        recommended: internal ids of the items with the highest scores, best first, ``[k]``.
        scores: the score of each of them, ``[k]``.
        effects: by how much the score of each falls without each item of the history, ``[k, n]``.
    """

    items: Tensor
    recommended: Tensor
    scores: Tensor
    effects: Tensor


def explain_recommendations(recommender: Recommender, user: str, k: int = RECOMMENDATIONS) -> Explanation:
    """Score the history of a user again without each of its items.

    Args:
        recommender: a run with its data.
        user: the id of a user of the dataset.
        k: the number of recommendations.

    Raises:
        UserError: the user is unknown or has a single item.
    """
    histories = Histories(recommender.dataset)
    (batch,) = histories.iterate_batches(select_users(histories, [user], skip_unknown=False), 1)
    items = read_items(recommender.dataset, batch.window)
    if len(items) < 2:
        raise UserError(f"user {user} has a single item, so no item can be left out; name a user with a longer history")
    whole = recommender.score(batch)[0]
    whole[0] = -torch.inf
    scores, recommended = whole.topk(min(k, len(whole) - 1))
    size = limit_batch_size(recommender.dataset.item_num, recommender.config["eval_batch_size"])
    without = [
        recommender.score(leave_each_out(recommender.dataset, batch, places))[:, recommended]
        for places in torch.arange(len(items)).split(size)
    ]
    return Explanation(items, recommended, scores, (scores - torch.cat(without)).T)


def read_items(dataset, window: Interaction) -> Tensor:
    """Return the internal ids of the items in a window of one row, oldest first, ``[n]``."""
    items = window[dataset.iid_field + dataset.config["LIST_SUFFIX"]][0]
    return items[: int(window[dataset.item_list_length_field][0])]


def leave_each_out(dataset, batch: HistoryBatch, places: Tensor) -> HistoryBatch:
    """Return the history of one user several times, each time without one item.

    Args:
        dataset: a dataset after :func:`.data_preparation`.
        batch: one history of ``n`` items.
        places: the places of the items to leave out, from 0, ``[P]``.

    Returns:
        ``P`` histories of ``n - 1`` items.
    """
    length_field = dataset.item_list_length_field
    columns = {}
    for name, column in batch.window.interaction.items():
        if name.endswith(dataset.config["LIST_SUFFIX"]):
            rows = [torch.cat([column[0, :i], column[0, i + 1 :], torch.zeros_like(column[0, :1])]) for i in places]
            columns[name] = torch.stack(rows)
        else:
            columns[name] = column.repeat_interleave(len(places), dim=0)
    columns[length_field] = columns[length_field] - 1
    return replace(batch, user_ids=batch.user_ids * len(places), window=Interaction(columns))


def render_explanation(recommender: Recommender, explanation: Explanation) -> str:
    """Return a table for each recommendation as HTML, with titles where the dataset has them."""
    dataset = recommender.dataset
    titles = find_titles(recommender.config)

    def name(item: Tensor) -> str:
        own_id = str(dataset.id2token(dataset.iid_field, int(item)))
        return f"{titles[own_id]} ({own_id})" if own_id in titles else own_id

    parts = []
    n = len(explanation.items)
    rows = zip(explanation.recommended, explanation.scores, explanation.effects, strict=True)
    for rank, (item, score, effects) in enumerate(rows, start=1):
        largest = effects.abs().argsort(descending=True)[:SHOWN_ITEMS].tolist()
        shown = sorted(largest, key=lambda i: -float(effects[i]))
        cells = [[name(explanation.items[i]), str(n - i), f"{effects[i]:+.3f}"] for i in shown]
        table = Table(["item of the history", "items back", "raises the score by"], cells)
        parts += [f"<h3>{rank}. {html.escape(name(item))}, score {score:.3f}</h3>\n", table.to_html()]
    return "".join(parts)


def find_titles(config) -> dict[str, str]:
    """Return the titles of items by their own ids; none where the dataset has none."""
    try:
        return read_titles(config)
    except (MissingFileError, UserError):
        return {}
