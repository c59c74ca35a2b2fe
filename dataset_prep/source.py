"""What each dataset's module hands to the preparation; the rest is the same for all datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from dataset_prep.raw_files import RawFile


@dataclass(frozen=True)
class Feature:
    """The content of an ``.item`` or ``.user`` file.

    Attributes:
        header: ``name:type`` of each column.
        rows: text of each row's fields.
    """

    header: Sequence[str]
    rows: Iterable[Sequence[str]]


@dataclass(frozen=True)
class Source:
    """One dataset, opened but not yet read.

    Attributes:
        files: the raw files used.
        events: each file of interactions, with its tables in raw order; a table has at least ``columns``.
        columns: RecBole's type of each column of ``.inter``, ``user_id``, ``item_id`` and ``timestamp`` among them.
        features: content of the ``item`` and ``user`` files, where the raw data have them.
        totals: the published ``users``, ``items``, ``interactions`` and ``items listed`` of the complete dataset.
        notes: what a user should know about how the files are read.
    """

    files: Sequence[RawFile]
    events: Sequence[tuple[RawFile, Iterable[pa.Table]]]
    columns: dict[str, str]
    features: dict[str, Feature] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
