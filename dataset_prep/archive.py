"""Raw distributions as they come: a file, a folder, a zip or a tar, with or without gzip. Members are streamed.

Nothing is unpacked to disk. A member's name that leads out of the archive, and one that swells to more than
``LARGEST_RATIO`` times its compressed size, are refused.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ALWAYS_ALLOWED = 64 << 20  # bytes any member may have, however small it is compressed
LARGEST_RATIO = 200  # logs compress five- to thirty-fold, deflate at most 1032-fold

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
"""What a compressed stream that is cut short or damaged raises."""


@dataclass(frozen=True)
class Member:
    """One raw file, in the open or in an archive.

    Attributes:
        name: its path inside the folder or archive, without ``.gz``. label: how messages name it.
        file: the file on disk that holds it. size: its bytes, as they are before a ``.gz`` is decompressed.
    """

    name: str
    label: str
    file: Path
    size: int
    open_stored: Callable[[], BinaryIO]

    @property
    def is_gzip(self) -> bool:
        """Whether the member is itself compressed."""
        return self.label.endswith(".gz")

    def open(self) -> BinaryIO:
        """The member's bytes, decompressed. Reading raises ValueError past the size cap, ``DAMAGE`` when damaged."""
        stored = self.open_stored()
        return io.BufferedReader(_Gunzipped(stored, self), buffer_size=1 << 20) if self.is_gzip else stored


class Raw:
    """What ``--raw`` points at.

    Raises FileNotFoundError when it is not there, ValueError for an archive that is damaged or not to be trusted.
    """

    def __init__(self, path: Path):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        self.path = path
        try:
            self.members = _members(path)
        except DAMAGE as error:
            raise ValueError(f"{path}: the archive is cut short or damaged: {error}") from None

    def find(self, pattern: str) -> Member | None:
        """The one member whose file name matches; ValueError when several do."""
        found = self.find_all(pattern)
        if len(found) > 1:
            raise ValueError(
                f"{self.path} holds several {pattern}: {', '.join(m.name for m in found)}; point --raw at one"
            )
        return found[0] if found else None

    def find_all(self, pattern: str) -> list[Member]:
        """Members whose file name matches, by name."""
        found = [m for m in self.members if fnmatch.fnmatchcase(PurePosixPath(m.name).name, pattern)]
        return sorted(found, key=lambda member: member.name)


def _members(path: Path) -> list[Member]:
    if path.is_dir():
        files = [f for f in path.rglob("*") if f.is_file()]
        return [_on_disk(f, f.relative_to(path).as_posix()) for f in files]
    if zipfile.is_zipfile(path):
        return _in_zip(path)
    if path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return _in_tar(path)
    return [_on_disk(path, path.name)]


def _on_disk(file: Path, name: str) -> Member:
    return Member(name.removesuffix(".gz"), str(file), file, file.stat().st_size, lambda: open(file, "rb"))


def _in_zip(path: Path) -> list[Member]:
    archive = zipfile.ZipFile(path)
    members = []
    for info in archive.infolist():
        if info.is_dir():
            continue
        label = _label(path, info.filename)
        if info.flag_bits & 1:
            raise ValueError(f"{label} is encrypted")
        _refuse_swelling(label, info.file_size, info.compress_size)
        opened = lambda info=info: archive.open(info)  # noqa: E731
        members.append(Member(info.filename.removesuffix(".gz"), label, path, info.file_size, opened))
    return members


def _in_tar(path: Path) -> list[Member]:
    archive = tarfile.open(path)  # noqa: SIM115  read from as long as its members are
    members, total = [], 0
    for info in archive:
        label = _label(path, info.name)
        total += info.size
        _refuse_swelling(label, total, path.stat().st_size)
        if info.isfile():
            opened = lambda info=info: archive.extractfile(info)  # noqa: E731
            members.append(Member(info.name.removesuffix(".gz"), label, path, info.size, opened))
    return members


def _label(path: Path, name: str) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match("[A-Za-z]:", name):
        raise ValueError(f"{path}: the member {name!r} leads out of the archive; it is not a distribution to trust")
    return f"{path}/{name}"


def _refuse_swelling(label: str, size: int, compressed: int) -> None:
    if size > max(ALWAYS_ALLOWED, LARGEST_RATIO * compressed):
        raise ValueError(
            f"{label} would unpack to more than {LARGEST_RATIO} times its compressed size; "
            f"if that is right, unpack it yourself and point --raw at the folder"
        )


class _Gunzipped(io.RawIOBase):
    """A member's gzip stream, decompressed as far as its cap."""

    def __init__(self, stored: BinaryIO, member: Member):
        self.stored, self.member, self.count = stored, member, 0
        self.stream = gzip.GzipFile(fileobj=stored)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self.stream.readinto(buffer)
        self.count += count
        _refuse_swelling(self.member.label, self.count, self.member.size)
        return count

    def close(self) -> None:
        self.stream.close()
        self.stored.close()
        super().close()
