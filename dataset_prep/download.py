"""Archives from GroupLens, which lets anyone fetch them: resumed where an earlier attempt stopped, checked by their MD5."""

from __future__ import annotations

import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from dataset_prep.record import checksum

SITE = "https://files.grouplens.org/datasets/movielens"
PATIENCE = 60  # seconds without an answer
BLOCK = 1 << 20


def download(name: str, folder: Path) -> Path:
    """``<folder>/<name>.zip``, fetched unless it is there.

    Raises OSError when the site cannot be reached, ValueError when what arrived is not what the site says it is.
    """
    archive, unfinished = folder / f"{name}.zip", folder / f"{name}.zip.part"
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    url = f"{SITE}/{name}.zip"
    try:
        _fetch(url, unfinished)
        expected = _published_md5(f"{url}.md5")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise OSError(f"{url} cannot be fetched ({error}); run again to go on, or fetch it by other means") from None
    found = checksum(unfinished, "md5")
    if expected is None:
        print(f"{url} has no published checksum; its md5 is {found}", file=sys.stderr)
    elif found != expected:
        unfinished.unlink()
        raise ValueError(f"{url} arrived with md5 {found}, published is {expected}; run again to fetch it anew")
    os.replace(unfinished, archive)
    return archive


def _fetch(url: str, file: Path) -> None:
    have = file.stat().st_size if file.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to fetch
            return
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        total = int(length) + have * resumed if length else None
        with (
            open(file, "ab" if resumed else "wb") as target,
            tqdm(total=total, initial=have * resumed, unit="B", unit_scale=True, desc=file.name, disable=None) as bar,
        ):
            while block := answer.read(BLOCK):
                target.write(block)
                bar.update(len(block))
            if total is not None and target.tell() < total:
                raise ConnectionError(f"the connection closed after {target.tell()} of {total} bytes")


def _published_md5(url: str) -> str | None:
    """The digest in the site's ``.md5`` file: ``<digest>  <name>`` or ``MD5 (<name>) = <digest>``."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            words = answer.read(1000).decode("ascii", "replace").split()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return next((word.lower() for word in words if len(word) == 32), None)
