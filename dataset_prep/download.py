"""Download MovieLens archives from GroupLens: resume an interrupted download and check the published MD5."""

from __future__ import annotations

import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from dataset_prep.errors import PreparationError, explain_system_errors
from dataset_prep.origins import MOVIELENS_FILES
from dataset_prep.record import checksum

TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 20


def download(name: str, folder: Path) -> Path:
    """Download ``<folder>/<name>.zip`` unless it exists, and return its path.

    Raises:
        PreparationError: the site cannot be reached, the checksum is wrong, or ``folder`` cannot be written.
    """
    archive = folder / f"{name}.zip"
    if archive.exists():
        return archive
    partial = folder / f"{name}.zip.part"
    url = f"{MOVIELENS_FILES}/{name}.zip"
    with explain_system_errors(f"cannot download {url} into {folder}"):
        try:
            _fetch(url, partial)
            expected = _published_md5(f"{url}.md5")
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise PreparationError(
                f"cannot download {url} ({error}); run the command again to resume, or download the file yourself"
            ) from error
        found = checksum(partial, "md5")
        if expected is None:
            print(f"{url} has no published checksum; its md5 is {found}", file=sys.stderr)
        elif found != expected:
            partial.unlink()
            raise PreparationError(
                f"{url} has md5 {found}, but {expected} is published; run the command again to download it anew"
            )
        os.replace(partial, archive)
    return archive


def _fetch(url: str, path: Path) -> None:
    """Download ``url``, after the bytes that ``path`` already holds."""
    existing = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={existing}-"} if existing else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The file is complete already.
            return
        raise
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            mode = "ab"
        else:
            # The server ignores the range and sends the file from its beginning.
            mode = "wb"
            existing = 0
        length = response.headers.get("Content-Length")
        total = int(length) + existing if length else None
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            open(path, mode) as file,
            tqdm(total=total, initial=existing, unit="B", unit_scale=True, desc=path.name, disable=None) as progress,
        ):
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                progress.update(len(block))
            if total is not None and file.tell() < total:
                raise ConnectionError(f"the connection closed after {file.tell()} of {total} bytes")


def _published_md5(url: str) -> str | None:
    """Return the digest in the site's ``.md5`` file, ``<digest>  <name>`` or ``MD5 (<name>) = <digest>``, if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            words = response.read(1000).decode("ascii", "replace").split()
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.NOT_FOUND:
            return None
        raise
    return next((word.lower() for word in words if len(word) == 32), None)
