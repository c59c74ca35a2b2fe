"""Run a Numba kernel over ranges of rows on several threads, with results that do not depend on their number.

A batch is cut into ranges that depend on its size alone. Each range adds its gradients of shared parameters to memory of its
own, and those partial sums are added in a fixed order.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_RANGES = 32

MIN_ENTRIES_PER_THREAD = 2**15
"""Below this size of the largest array, handing work to a thread takes longer than doing it."""

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def in_ranges(kernel, rows: int, *arguments, partial_sums=(), work: np.ndarray | None = None) -> None:
    """Call ``kernel(first, last, *arguments, *partial_sum)`` for every range of rows, on as many threads as torch uses.

    Args:
        kernel: a function made by :func:`.math.kernel`.
        rows: number of rows to cut into ranges.
        arguments: arrays and numbers that every call gets.
        partial_sums: arrays made by :func:`partial_sums_like`; each call gets the slice of its range.
        work: ``[rows]``, the cost of each row. The costliest ranges start first.
    """
    largest = max(argument.size for argument in arguments if isinstance(argument, np.ndarray))
    threads = torch.get_num_threads() if largest >= MIN_ENTRIES_PER_THREAD else 1
    if threads == 1 and not partial_sums:
        kernel(0, rows, *arguments)
        return
    bounds = _range_bounds(rows)
    order = range(len(bounds) - 1)
    if work is not None and rows:
        order = np.argsort(-np.add.reduceat(work, bounds[:-1])).tolist()
    # one iterator for all threads: the thread that is free takes the next range
    remaining = iter(order)

    def run():
        for index in remaining:
            kernel(bounds[index], bounds[index + 1], *arguments, *(array[index] for array in partial_sums))

    helpers = min(threads, len(bounds) - 1) - 1
    running = [_thread_pool(helpers).submit(run) for _ in range(helpers)]
    run()
    for future in running:
        future.result()


def partial_sums_like(rows: int, *parameters: Tensor) -> list[np.ndarray]:
    """Return float64 zeros for the gradients of shared parameters, ``[ranges, *shape]`` each."""
    ranges = len(_range_bounds(rows)) - 1
    return [np.zeros((ranges, *parameter.shape), np.float64) for parameter in parameters]


def add_up(partial_sums: list[np.ndarray], dtype: torch.dtype) -> list[Tensor]:
    """Add the partial sums of all ranges, in a fixed order."""
    return [torch.from_numpy(array.sum(0)).to(dtype) for array in partial_sums]


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """View CPU tensors as contiguous NumPy arrays."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def flatten_tokens(tokens: Tensor) -> Tensor:
    """``[..., D] -> [tokens, D]``."""
    return tokens.reshape(-1, tokens.shape[-1])


def apply_in_float(function, dtype: torch.dtype, *arguments) -> Any:
    """Apply an autograd function in float64 for float64 inputs and in float32 for all others; return ``dtype``.

    The kernels have no half precision, which autocast hands over.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    out = function.apply(*(_cast(argument, wide) for argument in arguments))
    return tuple(_cast(tensor, dtype) for tensor in out) if isinstance(out, tuple) else _cast(out, dtype)


def _cast(argument, dtype: torch.dtype):
    """Return a tensor in a dtype, and anything else as it is."""
    # for few tokens, calls that do nothing take as long as the kernels
    return argument.to(dtype) if isinstance(argument, Tensor) and argument.dtype != dtype else argument


def _range_bounds(rows: int) -> np.ndarray:
    return np.linspace(0, rows, min(rows, MAX_RANGES) + 1).astype(np.int64)


def _thread_pool(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < threads:
        _pool, _pool_size = ThreadPoolExecutor(threads, "echomamba-ops"), threads
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


# a forked process inherits the pool object without its threads
os.register_at_fork(after_in_child=_forget_pool)
