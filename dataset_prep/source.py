"""What a source file says about one data set; everything else is the same for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from dataset_prep.archive import Member


@dataclass(frozen=True)
class Feature:
    """An ``.item`` or ``.user`` file: typed header fields and rows of text."""

    header: Sequence[str]
    rows: Iterable[Sequence[str]]


@dataclass(frozen=True)
class Source:
    """One data set, opened but not yet read.

    Attributes:
        members: the raw files used. events: tables with at least ``columns``, in raw order.
        columns: column of ``.inter`` to RecBole's type; ``user_id``, ``item_id`` and ``timestamp`` are among them.
        features: ``item`` and ``user`` to their files, where the raw data have them.
        totals: the owner's published ``users, items, interactions, items listed`` for the whole distribution.
    """

    members: Sequence[Member]
    events: Iterable[pa.Table]
    columns: dict[str, str]
    features: dict[str, Feature] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
