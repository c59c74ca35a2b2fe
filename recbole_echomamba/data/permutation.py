"""Compute single values of a permutation, which is never stored."""

from __future__ import annotations

import math

import numpy as np

ROUNDS = 6
"""How often every cell is shifted along its column and its row."""


def permute(numbers: np.ndarray, n: int, key: int) -> np.ndarray:
    """Map ``numbers`` in ``0..n-1`` one to one into ``0..n-1``, as ``key`` decides.

    The numbers are the cells of a table with about ``sqrt(n)`` rows and columns. A Feistel network moves them: in turn, a cell is
    shifted along its column by a hash of the column, and along its row by a hash of the row. Cells past the end are moved again
    until they are inside (cycle walking, Black and Rogaway 2002).

    Args:
        numbers: ``[B]``.
        n: the length of the permutation, at least 1.
        key: chooses the permutation, below ``2**63``.
    """
    columns = math.isqrt(n - 1) + 1
    rows = -(-n // columns)
    # hashes are multiplied modulo 2**64
    keys = _hash(np.arange(2 * ROUNDS, dtype=np.uint64) + _hash(np.array([key], np.uint64)))
    cells = _move(numbers.astype(np.uint64), rows, columns, keys)
    outside = np.flatnonzero(cells >= n)
    while len(outside):
        cells[outside] = _move(cells[outside], rows, columns, keys)
        outside = outside[cells[outside] >= n]
    return cells.astype(np.int64)


def _move(cells: np.ndarray, rows: int, columns: int, keys: np.ndarray) -> np.ndarray:
    row, column = np.divmod(cells, np.uint64(columns))
    for row_key, column_key in keys.reshape(-1, 2):
        row = (row + _hash(column ^ row_key) % np.uint64(rows)) % np.uint64(rows)
        column = (column + _hash(row ^ column_key) % np.uint64(columns)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def _hash(values: np.ndarray) -> np.ndarray:
    """Mix the bits of 64-bit numbers (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
