"""Damage one file of a run, of the cache or of prepared data, and use it: the damage must be named, or change nothing."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.attack.scene import Scene
from benchmarks.attack.tally import Budget, Tally, attempt, collected_warnings
from dataset_prep.__main__ import main as prepare
from recbole_echomamba import Config, create_dataset, load_run, recommend, run
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.data import windowed_dataset
from recbole_echomamba.inspection import inspect
from recbole_echomamba.training.run_directory import find_finished
from tests.dataset_prep import layouts

READERS_OF_RUNS: dict[str, Callable[[Path], object]] = {}


def reader(name: str):
    """Register a function that uses a run directory and returns what it read from it."""

    def register(function):
        READERS_OF_RUNS[name] = function
        return function

    return register


@reader("load")
def _load(directory: Path):
    _, model, _, _, _, test = load_run(directory)
    batch = next(iter(test))[0]
    with torch.no_grad():
        return model.full_sort_predict(batch).numpy().tobytes()


@reader("recommend")
def _recommend(directory: Path):
    return recommend(directory, users=["u1", "u2"], titles=True).to_csv()


@reader("resume")
def _resume(directory: Path):
    result = run(resume=directory, config_dict={"epochs": 3})
    return [result[key] for key in ("test_result", "best_valid_result", "weights_digest", "best_epoch")]


@reader("inspect")
def _inspect(directory: Path):
    page = Path(inspect(directory, str(directory.parent / "page.html"))).read_text(encoding="utf-8")
    return page.replace(str(directory), "RUN")


@reader("compare")
def _compare(directory: Path):
    found = list(find_finished(directory.parent).values())
    if not found:
        # it is trained again, or named as missing
        return None
    ranks = Comparison("small", {"row": found}, {}, None, None, None).ranks("row")
    return json.dumps(found, sort_keys=True).replace(str(directory), "RUN"), ranks.to_csv()


def damage(file: Path, draw: random.Random) -> str:
    """Damage a file in one of the ways that disks, transfers and people do, and return how."""
    content = bytearray(file.read_bytes())
    kind = draw.choice(["flip", "flip", "flip", "zeros", "truncate", "append", "swap", "digit", "delete"])
    at = draw.randrange(max(1, len(content)))
    if kind == "flip":
        content[at] ^= 1 << draw.randrange(8)
    elif kind == "zeros":
        content[at : at + draw.randrange(1, 64)] = bytes(min(len(content) - at, draw.randrange(1, 64)))
    elif kind == "truncate":
        del content[at:]
    elif kind == "append":
        content += draw.randbytes(draw.randrange(1, 64))
    elif kind == "swap":
        other = draw.randrange(max(1, len(content)))
        content[at], content[other] = content[other], content[at]
    elif kind == "digit":
        digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()] or [at]
        content[draw.choice(digits)] = ord(draw.choice("0123456789"))
    if kind == "delete":
        file.unlink()
    else:
        file.write_bytes(content)
    return f"{kind} at {at} of {file.name}"


@dataclass
class Target:
    """Files that belong together, and the ways they are read.

    Attributes:
        folder: an intact copy.
        readers: by name; each returns what it read, ``None`` if it found nothing.
        ignored: names of files that carry no information.
    """

    folder: Path
    readers: dict[str, Callable[[Path], object]]
    ignored: tuple[str, ...] = (".lock",)

    def files(self, folder: Path) -> list[Path]:
        """Return the files in a copy of the folder."""
        return sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in self.ignored)


def attack_target(tally: Tally, target: Target, scratch: Path, draw: random.Random, budget: Budget) -> None:
    """Damage one file of a fresh copy after the other, each read in one of the ways in turn."""
    expected = {}
    for index in range(budget.most + len(target.readers)):
        if budget.over:
            return
        copy = scratch / f"{target.folder.name}-{index}" / "copy"
        shutil.copytree(target.folder, copy)
        name, read = list(target.readers.items())[index % len(target.readers)]
        if name not in expected:
            # what an intact copy reads; it is also what a copy reads in which the damage changes nothing
            expected[name] = read(copy)
        else:
            file = draw.choice(target.files(copy))
            before = file.read_bytes()
            how = damage(file, draw)
            changed = not file.is_file() or file.read_bytes() != before
            attempt(tally, f"{name}: {how}", _judge, read, copy, expected[name], changed)
        shutil.rmtree(copy.parent)


def _judge(read: Callable[[Path], object], copy: Path, expected: object, changed: bool) -> str | None:
    with collected_warnings() as words:
        found = read(copy)
    if not changed or found is None or found == expected:
        return None
    if any(str(copy) in each or "damaged" in each or "changed" in each for each in words):
        return None
    digests = [hashlib.sha256(repr(each).encode()).hexdigest()[:8] for each in (expected, found)]
    return f"read something else without a word: {digests[0]} became {digests[1]}"


def attack(scene: Scene, scratch: Path, seed: int, budget: Budget) -> list[Tally]:
    """Damage runs, the cache and prepared data."""
    draw = random.Random(seed)
    targets = {
        "a damaged file of a run is named when it is read": Target(scene.run, READERS_OF_RUNS),
        "a damaged cache is named and made again": _cache(scene, scratch),
        "damaged prepared data are named": _prepared(scratch),
    }
    tallies = []
    for index, (promise, target) in enumerate(targets.items()):
        tally = Tally(promise)
        tallies.append(tally)
        attack_target(tally, target, scratch, draw, budget.part(index, len(targets)))
    return tallies


def _cache(scene: Scene, scratch: Path) -> Target:
    """Return a dataset with a cache; files of any size are cached here."""
    windowed_dataset.MIN_CACHED_BYTES = 0
    data = scratch / "cached"
    shutil.copytree(scene.data, data)

    def read(folder: Path):
        settings = {**scene.settings, "data_path": str(folder)}
        return _content(create_dataset(Config("Mamba4Rec", "small", config_dict=settings)))

    read(data)
    # the data themselves have no record to compare with: that is the next target
    return Target(data, {"create_dataset": read}, ignored=(".lock", "small.inter", "small.item"))


def _prepared(scratch: Path) -> Target:
    """Return a dataset that ``dataset_prep`` wrote."""
    raw = layouts.write_ml1m(scratch / "raw-ml-1m", layouts.walks())
    if prepare(["ml-1m", "--raw", str(raw), "--out", str(scratch / "prepared")]):
        raise RuntimeError("the data to attack could not be prepared")

    def read(folder: Path):
        columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "genre"]}
        settings = {"data_path": str(folder), "load_col": columns, "data_cache": False}
        return _content(
            create_dataset(Config("FDSA", "ml-1m", config_dict={**settings, "selected_features": ["genre"]}))
        )

    return Target(scratch / "prepared", {"create_dataset": read}, ignored=(".lock", "ml-1m.user"))


def _content(dataset) -> str:
    """Return all that a dataset holds."""
    features = [feature for feature in (dataset.inter_feat, dataset.item_feat) if feature is not None]
    columns = [{str(field): each[field].tolist() for field in each.columns} for each in features]
    return repr((columns, {str(field): [*map(str, texts)] for field, texts in dataset.field2id_token.items()}))
