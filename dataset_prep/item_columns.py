"""Collect the columns of a log that describe its items, for an ``.item`` file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataset_prep.atomic_file import check_text
from dataset_prep.errors import PreparationError, RowError
from dataset_prep.fields import check_number
from dataset_prep.source import Feature

KINDS = ("token", "token_seq", "float")


class ItemColumns:
    """The first text of each column that is not empty, by item.

    Args:
        title: the column of the title, which becomes ``title:token_seq``.
        others: other columns as ``COLUMN`` or ``COLUMN:KIND``; without a kind it is ``token``.

    Attributes:
        columns: the columns of the log.

    Raises:
        PreparationError: a kind is unknown.
    """

    def __init__(self, title: str | None, others: Sequence[str]):
        self.columns = [title] if title else []
        self._header = ["title:token_seq"] if title else []
        for other in others:
            column, colon, kind = other.rpartition(":")
            if not colon:
                column, kind = other, "token"
            if kind not in KINDS:
                raise PreparationError(f"--item-cols has kind {kind!r} for {column}; choose {', '.join(KINDS)}")
            self.columns.append(column)
            self._header.append(f"{column}:{kind}")
        self._texts: dict[str, list[str]] = {}

    def add(self, item: str, values: Sequence) -> None:
        """Add the values of a row.

        Raises:
            RowError: a number cannot be read.
        """
        texts = ["" if value is None else str(value) for value in values]
        for column, header, text in zip(self.columns, self._header, texts, strict=True):
            is_number = header.endswith(":float") and text
            try:
                (check_number if is_number else check_text)(text)
            except RowError as error:
                cure = f"leave :float out to keep the text of {column}"
                raise RowError(
                    f"{column} {error}", f"{column} {error.kind}", cure if is_number else error.cure
                ) from None
        known = self._texts.setdefault(item, texts)
        if known is not texts:
            known[:] = [before or text for before, text in zip(known, texts, strict=True)]

    def as_features(self) -> dict[str, Feature]:
        """Return the content of the ``.item`` file, to be read after the log; nothing if there are no columns."""
        if not self.columns:
            return {}
        return {"item": Feature(["item_id:token", *self._header], self._rows())}

    def _rows(self) -> Iterator[list[str]]:
        for item, texts in self._texts.items():
            yield [item, *texts]
