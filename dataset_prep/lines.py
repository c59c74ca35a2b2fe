"""Read raw files as numbered lines, in blocks of whole lines, and as the records of a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

from tqdm import tqdm

from dataset_prep.errors import PreparationError
from dataset_prep.malformed import MalformedRows
from dataset_prep.raw_files import DAMAGE_ERRORS, RawFile

Line = TypeVar("Line")

BLOCK_BYTES = 16 << 20
LONGEST_LINE_BYTES = 64 << 20


def split_lines(block: bytes) -> list[bytes]:
    r"""Return the lines of a block without their ends, which are ``\n`` or ``\r\n``."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def read_blocks(file: RawFile) -> Iterator[tuple[int, bytes]]:
    """Yield a file in blocks of whole lines, each with the number of its first line; show progress in a terminal.

    Raises:
        PreparationError: the file is damaged, or a line is longer than :data:`LONGEST_LINE_BYTES`.
    """
    line = 1
    rest = b""
    total = None if file.is_gzip else file.size
    with file.open() as stream, tqdm(total=total, unit="B", unit_scale=True, desc=file.name, disable=None) as progress:
        while chunk := _read_chunk(stream, file, line):
            progress.update(len(chunk))
            block, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > LONGEST_LINE_BYTES:
                raise PreparationError(
                    f"{file.label}:{line}: a line after this one has more than {LONGEST_LINE_BYTES} bytes"
                )
            if newline:
                yield line, block + newline
                line += block.count(b"\n") + 1
    if rest:
        yield line, rest


def _read_chunk(stream: BinaryIO, file: RawFile, line: int) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except DAMAGE_ERRORS as error:
        raise PreparationError(
            f"{file.label}:{line}: the data after this line are truncated or damaged: {error}"
        ) from None


def read_lines(file: RawFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file without their ends, numbered from 1."""
    for first_line, block in read_blocks(file):
        yield from enumerate(split_lines(block), first_line)


def skip_header(lines: Iterable[tuple[int, Line]]) -> Iterator[tuple[int, Line]]:
    """Yield all numbered lines but line 1."""
    return ((line, content) for line, content in lines if line > 1)


def skip_blank(lines: Iterable[tuple[int, Line]], malformed: MalformedRows) -> Iterator[tuple[int, Line]]:
    """Yield all numbered lines but those that :func:`is_blank`, which are counted."""
    for line, content in lines:
        if is_blank(content):
            malformed.blank += 1
        else:
            yield line, content


def is_blank(content: object) -> bool:
    """Return whether a line, or the fields of one, hold nothing but spaces; a tab may be a delimiter."""
    if isinstance(content, list) and len(content) < 2:
        content = "".join(map(str, content))
    if isinstance(content, bytes):
        return not content.strip(b" ")
    return isinstance(content, str) and not content.strip(" ")


def read_csv(
    file: RawFile,
    malformed: MalformedRows,
    delimiter: str = ",",
    quoted: bool = True,
    hint: str = "",
    encoding: str = "utf-8",
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV, header included, each with the number of its first line.

    Bytes that are no text in the encoding become lone surrogates, which an id cannot hold, see
    :func:`dataset_prep.atomic_file.check_identifier`.

    Args:
        file: raw file to read.
        malformed: what happens to malformed rows.
        delimiter: character between two fields.
        quoted: whether quotes enclose fields; otherwise they are characters like any other.
        hint: what to do if the quotes of a quoted file are part of its text; added to messages about quotes.
        encoding: encoding of the text, in which a line ends with the same byte as in ASCII.

    Raises:
        PreparationError: a quote never closes, even when malformed rows are skipped: it is unknown what it swallowed. Or the
            header cannot be read.
    """
    csv.field_size_limit(LONGEST_LINE_BYTES)
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(_read_text_lines(file, encoding), delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise PreparationError(f"{file.label}:{line}: a quote opens here and never closes{hint}") from None
            if line == 1:
                raise PreparationError(
                    f"{file.label}:1: the header cannot be read as fields between {delimiter!r}: {error}{hint}"
                ) from None
            malformed.report(file, line, f"{error}{hint}")
        else:
            if reader.line_num > line:
                malformed.note_multiline(file, line, reader.line_num - line + 1, hint)
            yield line, record


def _read_text_lines(file: RawFile, encoding: str) -> Iterator[str]:
    for number, line in read_lines(file):
        text = line.decode(encoding, "surrogateescape") + "\n"
        yield text.removeprefix("\ufeff") if number == 1 else text
