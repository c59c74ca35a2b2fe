"""Read raw files as checked rows.

Delimited text is read in blocks of whole lines. A block of ordinary bytes only is parsed by Arrow. Any other block, and
any block that Arrow rejects, is parsed line by line, which decides whether it is valid and finds the line to name. Both ways
return the same rows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.csv

from dataset_prep.errors import PreparationError, RowError
from dataset_prep.fields import WHOLE_NUMBER, FieldType
from dataset_prep.lines import read_blocks, read_lines, skip_blank, split_lines
from dataset_prep.malformed import MalformedRows
from dataset_prep.raw_files import RawFile

Line = TypeVar("Line")
Row = TypeVar("Row")

ROWS_PER_TABLE = 100_000
"""Rows that are converted to one table where they are parsed one at a time."""

SAMPLE_BYTES = 1 << 16
"""How much of a file is compared with :attr:`Layout.looks`."""

ONLY_ARROW_READS = (b"-", b"0x", b"0X")
"""Beginnings of a whole number that Arrow accepts and :func:`dataset_prep.fields.parse_whole_number` refuses."""


def parse_rows(
    file: RawFile, lines: Iterable[tuple[int, Line]], parse: Callable[[Line], Row], malformed: MalformedRows
) -> Iterator[Row]:
    """Yield ``parse(content)`` for each ``(line, content)``; report those for which it raises ValueError, count empty lines."""
    for line, content in skip_blank(lines, malformed):
        try:
            row = parse(content)
        except ValueError as error:
            malformed.report(file, line, error)
        else:
            yield row


@dataclass(frozen=True)
class Layout:
    """Lines of delimited fields without quoting.

    Attributes:
        fields: type of each field by its name in the raw data, in order.
        delimiter: text between two fields.
        header: whether the first line names the fields.
        encoding: encoding of the text.
        looks: for some fields a pattern that most of their values match, to notice columns in another order or of other
            content.
        origin: whose layout it is, for messages.
    """

    fields: dict[str, FieldType]
    delimiter: str = ","
    header: bool = False
    encoding: str = "utf-8"
    looks: dict[str, re.Pattern] = field(default_factory=dict)
    origin: str = ""

    @property
    def header_line(self) -> str:
        """The names of the fields as a header writes them."""
        return self.delimiter.join(self.fields)

    def read_tables(self, file: RawFile, malformed: MalformedRows) -> Iterator[pa.Table]:
        """Yield the rows of a file in order, one table for each block.

        Raises:
            PreparationError: the header names other fields, a column does not look like what it is, a row is malformed, or
                the file is damaged.
        """
        for position, (first_line, block) in enumerate(self._read_body(file)):
            if position == 0:
                self._check_looks(file, first_line, block)
            table = self.parse_block(block)
            if table is None:
                lines = enumerate(split_lines(block), first_line)
                table = self.to_table(parse_rows(file, lines, self.parse_line, malformed))
            yield table

    def read_rows(self, file: RawFile, malformed: MalformedRows) -> Iterator[list]:
        """Yield the rows of a file without a header in order, one at a time."""
        return parse_rows(file, read_lines(file), self.parse_line, malformed)

    def _read_body(self, file: RawFile) -> Iterator[tuple[int, bytes]]:
        for first_line, block in read_blocks(file):
            if first_line == 1 and self.header:
                header, _, rest = block.partition(b"\n")
                self._check_header(file, header)
                yield 2, rest
            else:
                yield first_line, block

    def _check_header(self, file: RawFile, header: bytes) -> None:
        found = header.decode(self.encoding, "replace").lstrip("\ufeff").rstrip("\r")
        if found != self.header_line:
            raise PreparationError(f"{file.label}:1: expected {self._describe()}, found {found!r}")

    def _check_looks(self, file: RawFile, first_line: int, block: bytes) -> None:
        rows = self.split_sample(block)
        for position, name in enumerate(self.fields):
            if name not in self.looks:
                continue
            strange = [row[position] for row in rows if not self.looks[name].fullmatch(row[position])]
            if 2 * len(strange) > len(rows):
                raise PreparationError(
                    f"{file.label}:{first_line}: column {position + 1} does not look like {name}, it holds values such as "
                    f"{strange[0]!r}; expected {self._describe()}"
                )

    def _describe(self) -> str:
        return f"{self.header_line} ({self.origin})" if self.origin else self.header_line

    def split_sample(self, block: bytes) -> list[list[str]]:
        """Return the texts of the fields of the first lines of a block, without lines that have another number of fields."""
        text = block[:SAMPLE_BYTES].decode(self.encoding, "replace")
        rows = [line.rstrip("\r").split(self.delimiter) for line in text.split("\n")]
        return [row for row in rows if len(row) == len(self.fields)]

    def parse_line(self, line: bytes) -> list:
        """Return the values of one line; RowError with the reason when it is malformed."""
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError:
            raise RowError(f"is not {self.encoding}: {line!r}", f"is not {self.encoding}") from None
        texts = text.split(self.delimiter)
        if len(texts) != len(self.fields):
            expected = f"expected {self.header_line}"
            raise RowError(f"{expected}, found {text!r}", expected)
        return self.parse_fields(texts)

    def parse_fields(self, raw_values: Sequence) -> list:
        """Return the values of one row; RowError that names the field when one is malformed."""
        values = []
        for (name, field_type), raw_value in zip(self.fields.items(), raw_values, strict=True):
            try:
                values.append(field_type.parse(raw_value))
            except RowError as error:
                raise RowError(f"{name} {error}", f"{name} {error.kind}", error.cure) from None
        return values

    def parse_block(self, block: bytes) -> pa.Table | None:
        """Return the table of a block of whole lines, or None when it must be parsed line by line."""
        block = block.replace(b"\r\n", b"\n")
        ordinary = b"".join(field_type.ordinary for field_type in self.fields.values())
        if block.translate(None, ordinary + self.delimiter.encode() + b"\n"):
            return None
        delimiter = self.delimiter
        if delimiter == "::":
            # Arrow supports delimiters of one character only.
            block = block.replace(b"::", b"\t")
            delimiter = "\t"
        if _has_field_starting_with(ONLY_ARROW_READS, block, delimiter):
            return None
        arrow_types = {name: _type_for_arrow(field_type) for name, field_type in self.fields.items()}
        try:
            table = pa.csv.read_csv(
                io.BytesIO(block),
                read_options=pa.csv.ReadOptions(column_names=list(arrow_types), block_size=len(block) + 1),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
                convert_options=pa.csv.ConvertOptions(
                    column_types=arrow_types, null_values=[""], strings_can_be_null=False
                ),
            )
            columns = [_parse_column(table[name], field_type) for name, field_type in self.fields.items()]
        except ValueError:
            # Arrow's own errors are ValueErrors too.
            return None
        return pa.table(columns, names=list(self.fields))

    def to_table(self, rows: Iterable[Sequence]) -> pa.Table:
        """Return rows of parsed values as one table."""
        columns = list(zip(*rows, strict=True)) or [[] for _ in self.fields]
        types = [field_type.arrow_type for field_type in self.fields.values()]
        arrays = [pa.array(column, arrow_type) for column, arrow_type in zip(columns, types, strict=True)]
        return pa.table(arrays, names=list(self.fields))

    def to_tables(self, rows: Iterable[Sequence]) -> Iterator[pa.Table]:
        """Yield rows of parsed values as tables of :data:`ROWS_PER_TABLE` rows."""
        remaining = iter(rows)
        while chunk := list(islice(remaining, ROWS_PER_TABLE)):
            yield self.to_table(chunk)


def _has_field_starting_with(beginnings: tuple[bytes, ...], block: bytes, delimiter: str) -> bool:
    separators = (delimiter.encode(), b"\n")
    return block.startswith(beginnings) or any(
        separator + beginning in block for separator in separators for beginning in beginnings
    )


def _type_for_arrow(field_type: FieldType) -> pa.DataType:
    """Let Arrow parse whole numbers; read other fields as a dictionary, so that each distinct text is parsed once."""
    if field_type is WHOLE_NUMBER:
        return field_type.arrow_type
    return pa.dictionary(pa.int32(), pa.string())


def _parse_column(column: pa.ChunkedArray, field_type: FieldType) -> pa.Array | pa.ChunkedArray:
    if column.null_count:
        raise ValueError("empty field")
    if field_type is WHOLE_NUMBER:
        return column
    column = column.combine_chunks()
    distinct = [field_type.parse(text) for text in column.dictionary.to_pylist()]
    return pa.array(distinct, field_type.arrow_type).take(column.indices)
