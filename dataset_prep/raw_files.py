"""Find and open the raw files of a dataset: files, folders, zips or tars, with or without gzip.

Files in an archive are streamed; nothing is unpacked to disk. Refuse an archive with a name that points outside the
archive, what unpacks to more than ``--max-ratio`` times its compressed size, and what is no regular file: to read a pipe or a
device may never end.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from dataset_prep.errors import MissingFileError, PreparationError, explain_system_errors

ALWAYS_ALLOWED_BYTES = 64 << 20
"""Unpacked size that every file may have, however small it is compressed."""

LARGEST_RATIO = 200
"""Default of ``--max-ratio``. Logs compress 5 to 30 times; deflate reaches 1032 at most."""

GZIP_SIZE = struct.Struct("<I")
"""Last bytes of a gzip file: its unpacked size modulo 4 GiB."""

DAMAGE_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
"""Exceptions of a compressed stream that is truncated or damaged."""


@dataclass(frozen=True)
class RawFile:
    """One raw file on disk or in an archive.

    Attributes:
        name: path inside the folder or archive, without ``.gz``.
        label: how messages name the file.
        path: file on disk that holds it.
        size: bytes before a ``.gz`` is decompressed.
        open_stored: open the stored bytes, before a ``.gz`` is decompressed.
        max_ratio: largest unpacked size, in sizes of ``path``.
    """

    name: str
    label: str
    path: Path
    size: int
    open_stored: Callable[[], BinaryIO]
    max_ratio: int = LARGEST_RATIO

    @property
    def location(self) -> str:
        """The label with the absolute path of the file on disk, which is the same however the path was given."""
        return str(self.path.resolve()) + self.label[len(str(self.path)) :]

    @property
    def is_gzip(self) -> bool:
        """Whether the file itself is compressed with gzip."""
        return self.label.endswith(".gz")

    def check_unpacked(self, size: int) -> None:
        """Check the number of bytes that were, or would be, unpacked.

        Raises:
            PreparationError: they are more than :data:`ALWAYS_ALLOWED_BYTES` and ``max_ratio`` times the file on disk.
        """
        if size > max(ALWAYS_ALLOWED_BYTES, self.max_ratio * self.path.stat().st_size):
            raise PreparationError(
                f"{self.label} would unpack to more than {self.max_ratio} times its compressed size; "
                f"if that is right, raise the limit with --max-ratio"
            )

    def open(self) -> BinaryIO:
        """Open the decompressed bytes.

        Reading raises PreparationError past the size limit, and one of :data:`DAMAGE_ERRORS` when the file is damaged.

        Raises:
            PreparationError: the file is over the size limit, by what a small gzip file says of itself, or its archive is
                damaged.
        """
        if not self.is_gzip:
            return self._open_stored()
        if self.path.name.endswith(".gz"):
            self._check_recorded_size()
        return self._open_gzip()

    def _open_gzip(self) -> BinaryIO:
        return io.BufferedReader(_GzipReader(self._open_stored(), self), buffer_size=1 << 20)

    def _open_stored(self) -> BinaryIO:
        """Open the bytes as they are stored; an archive may say of its members what is not true."""
        try:
            return self.open_stored()
        except (*DAMAGE_ERRORS, NotImplementedError, RuntimeError) as error:
            raise PreparationError(f"{self.label}: the archive is truncated or damaged: {error}") from None

    def _check_recorded_size(self) -> None:
        """Unpack a gzip file that says it is over the size limit, to refuse it before millions of rows are parsed."""
        with open(self.path, "rb") as stored:
            stored.seek(max(0, self.size - GZIP_SIZE.size))
            end = stored.read()
        if len(end) < GZIP_SIZE.size:
            return
        try:
            self.check_unpacked(*GZIP_SIZE.unpack(end))
        except PreparationError:
            # The end of a truncated file says nothing; reading the rows finds the damage and its line.
            with contextlib.suppress(*DAMAGE_ERRORS), self._open_gzip() as stream:
                while stream.read(1 << 20):
                    pass


class RawFiles:
    """The raw files that ``--raw`` points at.

    Args:
        paths: files, folders, zips and tars, or glob patterns of them.
        max_ratio: how many times its compressed size a file may unpack to, once it is larger than 64 MiB.

    Attributes:
        files: the files in the order of ``paths``; those of a folder or a pattern sorted by path.
        ignored: files of folders, archives and patterns that are left out, because a part of their path begins with ``.``
            or ``_`` as in ``.DS_Store`` and ``_SUCCESS``: programs write them beside the data.
        label: how messages name all of them.

    Raises:
        MissingFileError: a path does not exist, or a pattern matches nothing.
        PreparationError: an archive is damaged, encrypted or not to be trusted, or a path cannot be read or is a pipe or
            device.
    """

    def __init__(self, *paths: Path, max_ratio: int = LARGEST_RATIO):
        self.label = " and ".join(map(str, paths))
        self.files: list[RawFile] = []
        self.ignored: list[RawFile] = []
        for path in (found for given in paths for found in _expand_pattern(given)):
            try:
                with explain_system_errors(f"cannot read {path}"):
                    files = _list_files(path, max_ratio)
            except DAMAGE_ERRORS as error:
                raise PreparationError(f"{path}: the archive is truncated or damaged: {error}") from None
            for file in files:
                # A file that was named itself is always read.
                is_named = path in paths and file.label == str(path)
                if _is_hidden(file.name) and not is_named:
                    self.ignored.append(file)
                else:
                    self.files.append(file)

    def find(self, pattern: str) -> RawFile | None:
        """Return the only file whose name matches ``pattern``, or None.

        Raises:
            PreparationError: several files match.
        """
        found = self.find_all(pattern)
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise PreparationError(f"{self.label} holds several {pattern}: {names}; point --raw at one")
        return found[0] if found else None

    def find_all(self, pattern: str) -> list[RawFile]:
        """Return the files whose name, without folders, matches ``pattern``; sorted by path."""
        found = [file for file in self.files if fnmatch.fnmatchcase(PurePosixPath(file.name).name, pattern)]
        return sorted(found, key=lambda file: file.name)


def _expand_pattern(path: Path) -> list[Path]:
    """Return the paths that match a glob pattern, sorted; or the path itself when it exists."""
    with explain_system_errors(f"cannot read {path}"):
        if path.exists():
            return [path]
    if glob.has_magic(str(path)):
        found = sorted(map(Path, glob.glob(str(path), recursive=True)))
        if found:
            return found
        raise MissingFileError(f"no file matches {path}")
    raise MissingFileError(f"{path} does not exist")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _list_files(path: Path, max_ratio: int) -> list[RawFile]:
    if path.is_dir():
        inside = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if not file.is_dir()}
        # Hidden pipes and links, such as the locks of an editor, are left out as hidden files are.
        return [
            _file_on_disk(file, name, max_ratio)
            for name, file in inside.items()
            if file.is_file() or not _is_hidden(name)
        ]
    _check_regular(path)
    if zipfile.is_zipfile(path):
        return _files_in_zip(path, max_ratio)
    if path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return _files_in_tar(path, max_ratio)
    return [_file_on_disk(path, path.name, max_ratio)]


def _check_regular(path: Path) -> None:
    if not path.is_file():
        raise PreparationError(
            f"{path} is a pipe, device or broken link; copy its data to a file and point --raw at that"
        )


def _file_on_disk(path: Path, name: str, max_ratio: int) -> RawFile:
    _check_regular(path)
    return RawFile(name.removesuffix(".gz"), str(path), path, path.stat().st_size, partial(open, path, "rb"), max_ratio)


def _files_in_zip(path: Path, max_ratio: int) -> list[RawFile]:
    archive = zipfile.ZipFile(path)
    files = []
    total = 0
    for info in archive.infolist():
        if info.is_dir():
            continue
        label = _label(path, info.filename)
        # The first bit of the flags marks encryption.
        if info.flag_bits & 1:
            raise PreparationError(f"{label} is encrypted; unpack it yourself and point --raw at the folder")
        total += info.file_size
        name = info.filename.removesuffix(".gz")
        files.append(RawFile(name, label, path, info.file_size, partial(archive.open, info), max_ratio))
        files[-1].check_unpacked(total)
    return files


def _files_in_tar(path: Path, max_ratio: int) -> list[RawFile]:
    archive = tarfile.open(path)  # noqa: SIM115  stays open as long as its files are read
    files = []
    total = 0
    for info in archive:
        name = info.name.removesuffix(".gz")
        label = _label(path, info.name)
        file = RawFile(name, label, path, info.size, partial(archive.extractfile, info), max_ratio)
        total += info.size
        file.check_unpacked(total)
        if info.isfile():
            files.append(file)
    return files


def _label(path: Path, name: str) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match("[A-Za-z]:", name):
        raise PreparationError(f"{path}: the name {name!r} points outside the archive; do not trust this archive")
    return f"{path}/{name}"


class _GzipReader(io.RawIOBase):
    """Decompress a gzip stream up to the size limit."""

    def __init__(self, stored: BinaryIO, file: RawFile):
        self.stored = stored
        self.file = file
        self.count = 0
        self.stream = gzip.GzipFile(fileobj=stored)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self.stream.readinto(buffer)
        self.count += count
        self.file.check_unpacked(self.count)
        return count

    def close(self) -> None:
        self.stream.close()
        self.stored.close()
        super().close()
