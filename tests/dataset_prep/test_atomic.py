"""Files appear whole or not at all, and any text in them comes back from RecBole's own loader."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dataset_prep.atomic import MISSING_WORDS, identifier, write_rows
from recbole_echomamba import Config, create_dataset
from tests.dataset_prep import layouts

ROOT = Path(__file__).parents[2]
PREPARE = "import sys; from dataset_prep.__main__ import main; sys.exit(main(sys.argv[1:]))"


def in_a_process(arguments, code=PREPARE, **kwargs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **kwargs)


@pytest.fixture
def earlier(tmp_path, prepare):
    """A prepared data set and raw data that would make another one of it."""
    prepare("ml-1m", layouts.write_ml1m(tmp_path / "old", layouts.walks(3, 3)))
    before = {file.name: file.read_bytes() for file in Path("out/ml-1m").iterdir()}
    return before, layouts.write_ml1m(tmp_path / "new", layouts.walks(300, 300))


def texts(folder="out/ml-1m"):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}


@pytest.mark.parametrize(
    "moment",
    ["dataset_prep.preparation.write_rows", "dataset_prep.pipeline.Events.write", "dataset_prep.preparation.publish"],
)
def test_killed_before_its_files_are_complete_a_preparation_leaves_the_old_ones(earlier, moment):
    before, raw = earlier
    module, _, name = moment.rpartition(".")
    target = "dataset_prep.pipeline.Events" if module.endswith("Events") else module
    kill = f"import importlib, os, pkgutil; owner = pkgutil.resolve_name({target!r}); inner = owner.{name}\n"
    kill += (
        f"def dies(*a, **k):\n    {'inner(*a, **k)' if name != 'publish' else 'pass'}\n    os.kill(os.getpid(), 9)\n"
    )
    process = in_a_process(["ml-1m", "--raw", raw, "--out", "out"], f"{kill}owner.{name} = dies\n{PREPARE}")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert texts() == before


def test_killed_between_two_renames_it_leaves_whole_files_that_nothing_vouches_for(earlier, prepare):
    before, raw = earlier
    kill = "import os; inner = os.replace\ndef dies(a, b):\n    inner(a, b)\n    os.kill(os.getpid(), 9)\nos.replace = dies\n"
    process = in_a_process(["ml-1m", "--raw", raw, "--out", "out"], kill + PREPARE)
    process.communicate()
    left = texts()
    assert set(left) == set(before) - {"ml-1m.prep.json"}
    assert prepare("ml-1m", raw)[1] == "ml-1m: 300 users, 300 items, 90000 interactions\n"
    after = texts()
    assert set(after) == set(before)
    assert all(content in (before[name], after[name]) for name, content in left.items())
    assert not Path("out/ml-1m/.unfinished").exists()


def test_killed_at_any_moment_it_leaves_the_old_file_or_the_new_one(earlier, tmp_path, prepare):
    before, raw = earlier
    assert prepare("ml-1m", raw, "--name", "other")[0] == 0
    new = Path("out/other/other.inter").read_bytes()
    start = time.monotonic()
    in_a_process(["ml-1m", "--raw", raw, "--out", "elsewhere"]).communicate()
    whole = time.monotonic() - start
    for share in (0.5, 0.7, 0.8, 0.9, 1.0):
        process = in_a_process(["ml-1m", "--raw", raw, "--out", "out", "--force"])
        time.sleep(share * whole)
        process.kill()
        process.communicate()
        assert Path("out/ml-1m/ml-1m.inter").read_bytes() in (before["ml-1m.inter"], new)


@pytest.mark.parametrize("limit", [1_000, 100_000, 1_200_000])
def test_a_full_disk_is_one_line_and_leaves_the_old_files(earlier, limit):
    before, raw = earlier  # the new .inter file has 1.8 million bytes
    process = in_a_process(
        ["ml-1m", "--raw", raw, "--out", "out"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, err = process.communicate()
    assert process.returncode == 1
    assert [line.partition(":")[0] for line in err.splitlines() if not line.startswith("WARNING")] == ["error"]
    assert texts() == before
    assert not Path("out/ml-1m/.unfinished").exists()


def test_two_preparations_do_not_write_into_one_folder(earlier, prepare):
    before, raw = earlier
    handle = os.open("out/ml-1m", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code, _, err = prepare("ml-1m", raw)
    os.close(handle)
    assert code == 1
    assert "another preparation is writing into out/ml-1m" in err
    assert texts() == before


NEEDLES = st.sampled_from(
    [*MISSING_WORDS, '"', '""', '"x', "'", "\t", "\n", "\r", "\r\n", "\0", " ", "#", ",", "[PAD]", "\ud800"]
)
TEXT = st.lists(st.one_of(NEEDLES, st.text(max_size=6)), max_size=4).map("".join)


def usable(text):
    try:
        return bool(identifier(text))
    except ValueError:
        return False


def as_recbole_splits(text):
    """What should come back: lone surrogates, which no file can hold, became question marks."""
    for gap in "\t\n\r\0":
        text = text.replace(gap, " ")
    return [word for word in text.encode("utf-8", "replace").decode().split(" ") if word]


@settings(max_examples=30, deadline=None, phases=[Phase.generate])
@given(st.dictionaries(TEXT.filter(usable), TEXT, min_size=4, max_size=8))
def test_any_id_and_any_title_come_back_from_recboles_loader(tmp_path_factory, titles):
    folder = tmp_path_factory.mktemp("round")
    (folder / "x").mkdir()
    rows = [(user, item, str(n)) for user in titles for n, item in enumerate(titles)]
    write_rows(folder / "x" / "x.inter", ("user_id:token", "item_id:token", "timestamp:float"), rows)
    write_rows(folder / "x" / "x.item", ("item_id:token", "title:token_seq"), titles.items())
    settings = {"data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": "*"}}
    settings |= {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}
    dataset = create_dataset(Config("SASRec", "x", config_dict=settings))
    feat = dataset.inter_feat
    users, items = (dataset.id2token(field, feat[field]) for field in ("user_id", "item_id"))
    assert list(zip(users, items, feat["timestamp"].astype(int).astype(str), strict=True)) == rows
    found = dict(
        zip(dataset.id2token("item_id", dataset.item_feat["item_id"]), dataset.item_feat["title"], strict=True)
    )
    words = {
        item: [str(word) for word in dataset.id2token("title", title)] for item, title in found.items() if len(title)
    }
    assert {item: words.get(item, []) for item in titles} == {item: as_recbole_splits(t) for item, t in titles.items()}


@pytest.mark.parametrize("word", ["", "[PAD]", "a\tb", "a\nb", "a\rb", "a\0b", "\ud800", *sorted(MISSING_WORDS)])
def test_ids_that_an_atomic_file_cannot_hold_are_refused_by_name(word):
    with pytest.raises(ValueError, match="is "):
        identifier(word)


def test_the_missing_words_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert STR_NA_VALUES - {""} == MISSING_WORDS
