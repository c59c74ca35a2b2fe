"""Give the project random and damaged inputs: each is refused in one line, or used as what it says."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
from hypothesis import strategies as st

from benchmarks.attack import mutation
from benchmarks.attack.scene import Scene
from benchmarks.attack.tally import Budget, Tally, attempt, collected_warnings
from dataset_prep.__main__ import main as prepare
from recbole_echomamba import Config, Recommender, create_dataset
from recbole_echomamba.config.settings_files import parse_value
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.tuning.search_space import read_space
from tests.dataset_prep import layouts

TEXTS = st.one_of(
    st.text(max_size=30), st.sampled_from(mutation.WORDS).map(lambda word: word.decode("utf-8", "replace"))
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
IDS = st.one_of(st.integers(-3, 20).map(lambda number: f"i{number}"), TEXTS)
NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), TEXTS)
KINDS = st.sampled_from(["choice", "uniform", "loguniform", "quniform", "randint", ""])
LINES = st.tuples(st.sampled_from(["learning_rate", "dropout_prob", "x"]), KINDS, st.lists(NUMBERS, max_size=4))

LAYOUTS = {
    "ml-1m": layouts.write_ml1m,
    "netflix": layouts.write_netflix,
    "tmall": layouts.write_ijcai16,
    "lfm-1b": layouts.write_lfm,
    "amazon-beauty": layouts.write_amazon_reviews,
}
CONFIG_FILE = b"""
learning_rate: 0.01
topk: [5, 10]
eval_args: {split: {LS: valid_and_test}, mode: full}
val_interval:
  rating: '[1,2]'
"""
ARCHIVES = {"ml-20m": layouts.write_movielens_csv}


def attack(scene: Scene, scratch: Path, seed: int, budget: Budget) -> list[Tally]:
    """Try every kind of input, about evenly spread."""
    parts: list[Callable[[Tally, Budget], None]] = [
        functools.partial(_attack_settings, scene=scene, seed=seed),
        functools.partial(_attack_config_files, scene=scene, scratch=scratch, seed=seed),
        functools.partial(_attack_hyper, scratch=scratch, seed=seed),
        functools.partial(_attack_histories, scene=scene, seed=seed),
        functools.partial(_attack_inter, scene=scene, scratch=scratch, seed=seed),
        functools.partial(_attack_sources, scratch=scratch, seed=seed),
    ]
    promises = [
        "settings are refused or used as given",
        "config files are refused or used as written",
        "search spaces are refused or finite",
        "ids and histories are refused or recommended from",
        ".inter files are refused or read row by row",
        "raw files and archives are refused or prepared whole",
    ]
    tallies = []
    for index, (promise, part) in enumerate(zip(promises, parts, strict=True)):
        tally = Tally(promise)
        tallies.append(tally)
        share = budget.part(index, len(parts))
        # A round of hypothesis ends when its examples are used up, so the time is looked at between rounds.
        rounds = 0
        while tally.tried < share.most and not share.over:
            before = tally.tried
            part(tally, Budget(share.most - tally.tried, share.deadline), round_=rounds)
            rounds += 1
            if tally.tried == before:
                break
    return tallies


def _each(strategy, seed: int, budget: Budget, action: Callable[[object], None]) -> None:
    """Call ``action`` with values that hypothesis draws."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=min(budget.most, 500),
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(value):
        if time.monotonic() < budget.deadline:
            action(value)

    draw()


def _attack_settings(tally: Tally, budget: Budget, *, scene: Scene, seed: int, round_: int) -> None:
    names = sorted(Config("Mamba4Rec", "small", config_dict=scene.settings).settings)
    chosen = st.dictionaries(st.sampled_from([*names, "no_such_setting"]), VALUES, min_size=1, max_size=3)

    def use(settings):
        with collected_warnings() as words:
            config = Config("Mamba4Rec", "small", config_dict={**scene.settings, **settings})
        return _find_unused(config, settings, words)

    _each(chosen, seed + round_, budget, lambda settings: attempt(tally, settings, use, settings))


def _find_unused(config: Config, settings: dict, words: list[str]) -> str | None:
    for key, value in settings.items():
        given = parse_value(value) if isinstance(value, str) else value
        used = config.settings.get(key)
        if key != "eval_args" and not _same(used, given) and not any(key in each for each in words):
            return f"{key} was given as {given!r} and is {used!r}"
    return None


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return repr(one) == repr(other) or one == other


def _attack_config_files(tally: Tally, budget: Budget, *, scene: Scene, scratch: Path, seed: int, round_: int) -> None:
    draw = random.Random(f"{seed} config {round_}")
    file = scratch / "config.yaml"

    def use():
        Config("Mamba4Rec", "small", [str(file)], scene.settings)

    for _ in range(min(budget.most, 500)):
        if budget.over:
            return
        content = mutation.mutate(CONFIG_FILE, draw)
        file.write_bytes(content)
        attempt(tally, content, use)


def _attack_hyper(tally: Tally, budget: Budget, *, scratch: Path, seed: int, round_: int) -> None:
    file = scratch / "space.hyper"

    def use(lines):
        text = "\n".join(
            f"{name} {kind} {'[' if kind == 'choice' else ''}{','.join(values)}" for name, kind, values in lines
        )
        file.write_text(text + ("]" if lines and lines[-1][1] == "choice" else ""), encoding="utf-8", errors="replace")
        for name, each in read_space(file).items():
            bounds = [value for value in each.values if isinstance(value, float)]
            if each.kind != "choice" and not all(map(math.isfinite, [*bounds, each.first_value])):
                return f"{name} has the range {each.values}"
        return None

    _each(st.lists(LINES, max_size=3), seed + round_, budget, lambda lines: attempt(tally, lines, use, lines))


def _attack_histories(tally: Tally, budget: Budget, *, scene: Scene, seed: int, round_: int) -> None:
    recommender = Recommender.load(scene.run)
    asked = st.tuples(st.lists(IDS, max_size=12), st.integers(-1, 30), st.booleans())

    def use(history, topk, exclude_seen):
        table = recommender.recommend(histories=[history], topk=topk, exclude_seen=exclude_seen)
        if not table["score"].is_monotonic_decreasing or len(table) > topk:
            return f"the recommendations are not the best {topk} in order"
        if exclude_seen and set(table["item_id"]) & set(history):
            return "a seen item is recommended"
        return None

    _each(asked, seed + round_, budget, lambda each: attempt(tally, each, use, *each))


def _attack_inter(tally: Tally, budget: Budget, *, scene: Scene, scratch: Path, seed: int, round_: int) -> None:
    draw = random.Random(f"{seed} inter {round_}")
    good = (scene.data / "small" / "small.inter").read_bytes()
    folder = scratch / "fuzzed" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**scene.settings, "data_path": str(folder.parent), "data_cache": False}
    config = Config("Mamba4Rec", "small", config_dict=settings)

    def use():
        with collected_warnings() as words:
            dataset = create_dataset(config)
        users, items = (
            dataset.id2token(field, dataset.inter_feat[field].to_numpy()) for field in ("user_id", "item_id")
        )
        header, *rest = re.split("\r\n|\n|\r", content.decode("utf-8"))
        columns, lines = header.split("\t"), [line.split("\t") for line in rest if line]
        at_user, at_item = columns.index("user_id:token"), columns.index("item_id:token")
        rows = [[*row, "", ""] for row in lines]
        written = sorted((row[at_user], row[at_item]) for row in rows)
        read = sorted(zip(users, items, strict=True))
        if read != written and not words:
            return f"read {[row for row in read if row not in written]}, written {[row for row in written if row not in read]}"
        return None

    for _ in range(min(budget.most, 500)):
        if budget.over:
            return
        content = mutation.mutate(good, draw)
        (folder / "small.inter").write_bytes(content)
        attempt(tally, content[-300:], use)


def _attack_sources(tally: Tally, budget: Budget, *, scratch: Path, seed: int, round_: int) -> None:
    draw = random.Random(f"{seed} sources {round_}")
    rows = layouts.walks(5, 5)
    for name, write in {**LAYOUTS, **ARCHIVES}.items():
        intact = scratch / "raw" / name
        if not intact.parent.is_dir():
            intact.parent.mkdir(parents=True)
        if not (intact.exists() or intact.with_suffix(".zip").exists()):
            write(intact.with_suffix(".zip") if name in ARCHIVES else intact, rows)
    for index in range(min(budget.most, 60)):
        if budget.over:
            return
        name = list({**LAYOUTS, **ARCHIVES})[index % (len(LAYOUTS) + len(ARCHIVES))]
        copy = scratch / "raw-damaged"
        raw = _copy(scratch / "raw" / name, copy, name in ARCHIVES)
        file = draw.choice(sorted(each for each in copy.rglob("*") if each.is_file()))
        content = mutation.mutate(file.read_bytes(), draw)
        file.write_bytes(content)
        arguments = [name, "--raw", str(raw), "--out", str(scratch / "out"), "--force"]
        arguments += draw.choice([[], ["--skip-bad"], ["--min-user", "2"], ["--dedup", "keep-last"]])
        attempt(tally, (name, file.name, content[:200]), _prepare, arguments, scratch / "out" / name)
        shutil.rmtree(copy)
        shutil.rmtree(scratch / "out", ignore_errors=True)


def _copy(intact: Path, copy: Path, is_archive: bool) -> Path:
    if not is_archive:
        return Path(shutil.copytree(intact, copy))
    copy.mkdir()
    return Path(shutil.copy(intact.with_suffix(".zip"), copy))


def _prepare(arguments: list[str], folder: Path) -> str | None:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()) as printed:
        code = prepare(arguments)
    said = errors.getvalue().strip().splitlines()
    if code:
        if "this is a bug" in errors.getvalue():
            raise RuntimeError(" ".join(said[-2:]))
        if folder.exists():
            return "an error left files behind"
        raise UserError(said[-1])
    summary = printed.getvalue().strip().splitlines()[-1]
    with open(folder / f"{folder.name}.inter", "rb") as file:
        written = sum(1 for _ in file) - 1
    if f"{written} interactions" not in summary:
        return f"{written} rows are written, said is: {summary}"
    return None


logging.getLogger("hypothesis").setLevel(logging.ERROR)
