"""Find the users and items that are asked for, and say why some are not served."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from recbole_echomamba.config.checks import FILTERS
from recbole_echomamba.data.histories import Histories
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.system.errors import UserError

PADDING_TOKEN = "[PAD]"
"""RecBole's name for the padding item and the padding user, whose internal id is 0."""

MAX_LISTED_IDS = 10
"""How many unknown ids a message lists."""


def select_users(histories: Histories, users: Iterable[str] | None, skip_unknown: bool) -> np.ndarray:
    """Return the internal ids of users, without duplicates and in the order given.

    Args:
        histories: the histories of all users.
        users: user ids, or ``None`` for all users.
        skip_unknown: leave out unknown users with a warning.

    Raises:
        UserError: a user is unknown and ``skip_unknown`` is false, or there is no user.
    """
    dataset = histories.dataset
    if users is None:
        selected = histories.users
        _warn_of_left_out_users(dataset, len(selected))
    else:
        reason = f"dataset {dataset.dataset_name} has no known item of them{_explain_filters(dataset.config)}"
        if getattr(dataset, "untrained_users", 0):
            reason += (
                f", or they are new to {dataset.config['model']}, which has an embedding for each user of its training"
            )
        selected = _find_internal_ids(histories.internal_ids, dict.fromkeys(users), skip_unknown, "users", reason)
    if not len(selected):
        raise UserError("there is no user to recommend to; name at least one user of the dataset")
    return selected


def _warn_of_left_out_users(dataset, n_served: int) -> None:
    """Log how many users of the data get no recommendations, and why."""
    reasons = []
    if isinstance(dataset, WindowedDataset):
        n_filtered, n_without_items = dataset.filtered_users, dataset.users_without_known_items
        if n_filtered:
            reasons.append(f"{n_filtered} have no interaction{_explain_filters(dataset.config)}")
        if n_without_items:
            reasons.append(f"{n_without_items} have no item that the model was trained on")
        if dataset.untrained_users:
            reasons.append(
                f"{dataset.untrained_users} are new, and {dataset.config['model']} has an embedding for each user that it was "
                "trained on; train it again"
            )
        n_left_out = n_filtered + n_without_items + dataset.untrained_users
    else:
        # Here RecBole builds the histories and leaves out the first interaction of each user
        n_left_out = dataset.user_num - 1 - n_served
        reasons.append("they have a single interaction")
    if n_left_out:
        n_users = n_served + n_left_out
        logging.getLogger().warning(
            "%d of %d users of dataset %s are left out: %s",
            n_left_out,
            n_users,
            dataset.dataset_name,
            "; ".join(reasons),
        )


def _explain_filters(config) -> str:
    """Name the filters in use, and the setting that lets users with few interactions in."""
    used = [f"{key}={config[key]}" for key in FILTERS if config[key] is not None]
    if not used:
        return ""
    least = str(config["user_inter_num_interval"] or "[0").strip("[( ").partition(",")[0]
    cure = "; --user_inter_num_interval='[1,inf)' lets users with fewer interactions in" if float(least) > 1 else ""
    return f" after filtering with {', '.join(used)}{cure}"


def mark_allowed_items(dataset, items: Iterable[str] | None, skip_unknown: bool) -> Tensor:
    """Return which internal item ids may be recommended, ``[n_items]`` booleans."""
    allowed = torch.zeros(dataset.item_num, dtype=torch.bool)
    if items is None:
        # 0 is the padding item.
        allowed[1:] = True
    else:
        allowed[find_item_ids(dataset, items, skip_unknown)] = True
    if not allowed.any():
        raise UserError("there is no item to recommend; allow at least one item of the dataset")
    return allowed


def find_item_ids(dataset, items: Iterable[str], skip_unknown: bool) -> np.ndarray:
    """Return the internal ids of items; see :func:`_find_internal_ids` for unknown ones."""
    reason = f"they are not in dataset {dataset.dataset_name} after its filters"
    known = dataset.field2token_id[dataset.iid_field]
    return _find_internal_ids(known, items, skip_unknown, "items", reason)


def _find_internal_ids(
    known: dict[str, int], ids: Iterable[str], skip_unknown: bool, kind: str, reason: str
) -> np.ndarray:
    """Return the internal ids of users or items, in the order given.

    Args:
        known: internal ids by the dataset's own ids.
        ids: the dataset's own ids.
        skip_unknown: leave out unknown ids with a warning.
        kind: ``users`` or ``items``, for messages.
        reason: why an id may be unknown, for messages.

    Raises:
        UserError: an id is unknown and ``skip_unknown`` is false.
    """
    found, unknown = [], []
    for own_id in map(str, ids):
        if own_id in known and own_id != PADDING_TOKEN:
            found.append(known[own_id])
        else:
            unknown.append(own_id if own_id.isprintable() else repr(own_id))
    if unknown:
        listed = ", ".join(unknown[:MAX_LISTED_IDS])
        if len(unknown) > MAX_LISTED_IDS:
            listed += f" and {len(unknown) - MAX_LISTED_IDS} more"
        if not skip_unknown:
            hint = "; --skip-unknown leaves them out" if found else ""
            raise UserError(f"unknown {kind} {listed}: {reason}{hint}")
        logging.getLogger().warning("left out unknown %s %s: %s", kind, listed, reason)
    return np.array(found, dtype=np.int64)
