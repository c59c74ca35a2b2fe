"""What happens to malformed rows: stop at the first one with ``file:line: reason``, or skip and count them."""

from __future__ import annotations

from collections import Counter

from dataset_prep.errors import PreparationError
from dataset_prep.raw_files import RawFile
from dataset_prep.words import count

MOST_SKIPPED = 0.5
"""The largest share of malformed rows that ``--skip-bad`` leaves out by default: beyond it, an option is wrong."""

MOST_REASONS = 10
"""How many reasons for skipped rows are listed."""


class MalformedRows:
    """Decide what happens to malformed rows, and count them and the quoted fields that span several lines.

    Args:
        skip: the largest share of all rows that may be malformed, which are skipped and counted (``--skip-bad``); with 0, stop at
            the first one.

    Attributes:
        reasons: number of rows skipped for each reason.
        places: file and line of the first row that was skipped for each reason.
        first: message of the first one.
        blank: number of empty lines, which are no rows.
        filtered: number of rows that ``--where`` or ``--action`` leaves out.
        multiline: number of rows with a quoted field that spans several lines.
        first_multiline: message of the first one.
    """

    def __init__(self, skip: float = 0):
        self.skip = skip
        self.reasons: Counter[str] = Counter()
        self.places: dict[str, str] = {}
        self.first: str | None = None
        self.blank = 0
        self.filtered = 0
        self.multiline = 0
        self.first_multiline: str | None = None

    @property
    def count(self) -> int:
        """Number of rows skipped."""
        return sum(self.reasons.values())

    def report(self, file: RawFile, line: int, reason: object) -> None:
        """Count one malformed row, or stop.

        Args:
            file: raw file that holds the row.
            line: its line, from 1.
            reason: text, or the error that the row caused.

        Raises:
            PreparationError: malformed rows are not to be skipped.
        """
        place = f"{file.label}:{line}"
        message = f"{place}: {reason}"
        if cure := getattr(reason, "cure", ""):
            message = f"{message}; {cure}"
        if not self.skip:
            skip = ", or leave such rows out with --skip-bad" if cure else "; --skip-bad leaves such rows out"
            raise PreparationError(f"{message}{skip}") from None
        kind = getattr(reason, "kind", str(reason))
        self.reasons[kind] += 1
        self.places.setdefault(kind, place)
        if self.first is None:
            self.first = message

    def check_share(self, read: int) -> None:
        """Check that most rows could be read.

        Args:
            read: how many could, and were not filtered.

        Raises:
            PreparationError: more than the share ``skip`` of all rows was skipped.
        """
        total = self.count + read + self.filtered
        if self.count > self.skip * total:
            raise PreparationError(
                f"{self.count:,} of {count(total, 'row')} are malformed, the first: {self.first}; mend the options, or leave "
                "such rows out all the same with --skip-bad=1"
            )

    def note_multiline(self, file: RawFile, line: int, lines: int, hint: str) -> None:
        """Count one row with a quoted field that spans several lines.

        Args:
            file: raw file that holds the row.
            line: its first line, from 1.
            lines: number of its lines.
            hint: what to do if the quotes are part of the text; may be empty.
        """
        self.multiline += 1
        if self.first_multiline is None:
            self.first_multiline = f"{file.label}:{line}: a quoted field makes {lines} lines one row{hint}"

    def describe(self) -> list[str]:
        """Return what was counted as lines of text; none if there is nothing to say."""
        lines = []
        if self.blank:
            lines.append(f"left out {count(self.blank, 'empty line')}")
        if self.multiline:
            lines.append(f"rows of several lines: {self.multiline}, the first: {self.first_multiline}")
        if self.count:
            lines.append(f"skipped {count(self.count, 'malformed row')}, the first: {self.first}")
            listed = self.reasons.most_common(MOST_REASONS)
            lines += [f"  {count(n, 'row')}: {reason} (the first in {self.places[reason]})" for reason, n in listed]
            if others := self.count - sum(n for _, n in listed):
                lines.append(f"  {count(others, 'row')}: other reasons")
        return lines
