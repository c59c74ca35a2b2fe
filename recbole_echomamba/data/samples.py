"""Find and split the samples of interactions that are ordered by user and time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def find_run_starts(values: np.ndarray) -> np.ndarray:
    """Return the positions in ``values [n]`` at which a run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def find_samples(user: np.ndarray, slots: int) -> tuple[Tensor, Tensor]:
    """Find the target and the history length of every sample: each row is a target but the first of each user.

    Args:
        user: ``[rows]``, equal values side by side.
        slots: ``L``, the longest history.

    Returns:
        The rows of the targets ``[n]`` and the lengths ``[n]``.
    """
    starts = find_run_starts(user)
    targets = np.flatnonzero(user[1:] == user[:-1])
    targets += 1
    position = targets - np.repeat(starts, np.diff(np.append(starts, len(user))) - 1)
    row_type = np.int32 if len(user) < 2**31 else np.int64
    return torch.from_numpy(targets.astype(row_type)), torch.from_numpy(np.minimum(position, slots).astype(np.int32))


def split_leave_one_out(user: Tensor, time: Tensor, held_out: int) -> list[np.ndarray]:
    """Split samples into one part for training and ``held_out`` parts with one of the last samples of each user.

    A user with fewer than ``held_out + 1`` samples keeps the first for training and gives the others to the last parts. Users
    are in the order of the time of their first sample, as in RecBole, which sorts all samples by time before it groups them.

    Args:
        user: ``[n]``, equal values side by side.
        time: ``[n]``, ascending within a user.
        held_out: the number of parts that are not for training.

    Returns:
        ``held_out + 1`` arrays of sample numbers, training first.
    """
    user = user.numpy()
    starts = find_run_starts(user)
    counts = np.diff(np.append(starts, len(user)))
    order = np.argsort(time.numpy()[starts], kind="stable")
    starts, counts = starts[order], counts[order]
    given = np.minimum(held_out, counts - 1)
    kept = counts - given
    offsets = np.cumsum(kept) - kept
    train = np.arange(kept.sum()) + np.repeat(starts - offsets, kept)
    parts = [train]
    for part in range(held_out, 0, -1):
        has = given >= part
        parts.append((starts + counts - part)[has])
    return parts


def count_reordered_users(user: np.ndarray, time: np.ndarray) -> int:
    """Count the users whose last row is not the one that their exact times put last.

    Args:
        user: ``[n]``, equal values side by side.
        time: ``[n]``, the exact times.
    """
    if not ((time[1:] < time[:-1]) & (user[1:] == user[:-1])).any():
        return 0
    starts = find_run_starts(user)
    ends = np.append(starts[1:], len(user))
    latest = np.repeat(np.maximum.reduceat(time, starts), ends - starts)
    last = np.maximum.reduceat(np.where(time == latest, np.arange(len(time)), -1), starts)
    return int((last != ends - 1).sum())


def measure_future(train_times: np.ndarray, test_times: np.ndarray) -> float:
    """Return the share of training interactions that are later than a test target, averaged over the test targets.

    Zero for a split by global time; near one half for leave-one-out where users come and go.

    Args:
        train_times: the time of every training interaction, in any order.
        test_times: the time of every test target.
    """
    if not len(train_times) or not len(test_times):
        return 0.0
    earlier = np.searchsorted(np.sort(train_times), test_times, side="right")
    return float(1 - earlier.mean() / len(train_times))
