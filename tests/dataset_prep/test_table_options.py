"""Options of a log: columns of its items, a filter of its rows, the format of its times and its encoding."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from dataset_prep.errors import PreparationError
from dataset_prep.malformed import MalformedRows
from dataset_prep.row_filter import RowFilter
from recbole_echomamba.commands.shared import split_history

COLUMNS = ["--name", "mine", "--user-col", "who", "--item-col", "sku", "--time-col", "at"]
TEXT = """who,sku,at,event,name,price
a,x 1,3,purchase,,3.5
b,x 1,4,view,Café,
a,y,5,purchase,"Tea, ""black\""",12
b,y,6,purchase,other,12
"""


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.csv").write_text(TEXT, encoding="utf-8")
    return tmp_path / "log.csv"


def test_columns_of_the_items_become_an_item_file(log, prepare, read):
    assert prepare("table", log, *COLUMNS, "--title-col", "name", "--item-cols", "price:float", "event")[0] == 0
    header, rows = read("mine", "item")
    assert header == ["item_id:token", "title:token_seq", "price:float", "event:token"]
    assert rows == [["x 1", "Café", "3.5", "purchase"], ["y", 'Tea, "black"', "12", "purchase"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--item-cols", "price:int"], "--item-cols has kind 'int' for price; choose token"),
        (["--item-cols", "name:float"], "log.csv:3: name is 'Café', not a number"),
        (["--title-col", "nam"], "there is no column 'nam' among"),
    ],
)
def test_an_item_column_that_cannot_be_used_is_named(log, prepare, options, words):
    code, _, err = prepare("table", log, *COLUMNS, *options)
    assert code == 1
    assert words in err


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("event = 'purchase'", ["3", "5", "6"]),
        ("try_cast(price AS double) > 3.5", ["5", "6"]),
        ("who = 'a' AND sku LIKE 'x%'", ["3"]),
    ],
)
def test_only_rows_for_which_the_expression_is_true_are_kept(log, prepare, read, expression, times):
    assert prepare("table", log, *COLUMNS, "--where", expression)[0] == 0
    assert [row[2] for row in read("mine")[1]] == times


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_every_format_are_filtered(tmp_path, prepare, read, kind):
    rows = [
        {"who": "a", "sku": "x", "at": n, "event": event} for n, event in enumerate(["buy", None, "view", "buy"], 1)
    ]
    if kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    else:
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert prepare("table", tmp_path / f"log.{kind}", *COLUMNS, "--where", "event = 'buy' OR who = 'nobody'")[0] == 0
    assert [row[2] for row in read("mine")[1]] == ["1", "4"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("event =", "cannot be read: syntax error"),
        ("1 = 1", "names no column"),
        ("evnt = 'x'", "did you mean 'event'?"),
        ("price > 3", "values are text, cast numbers with try_cast"),
        ("true); DROP TABLE rows; --", "cannot be read"),
    ],
)
def test_an_expression_that_cannot_be_used_is_one_line(log, prepare, expression, words):
    code, _, err = prepare("table", log, *COLUMNS, "--where", expression)
    assert code == 1
    assert words in err
    assert err.count("\n") == 1


def test_times_are_read_in_the_format_that_is_named(tmp_path, prepare, read):
    (tmp_path / "log.csv").write_text("who,sku,at\na,x,02.01.1970 01:00\n")
    assert prepare("table", tmp_path / "log.csv", *COLUMNS, "--time-format", "%d.%m.%Y %H:%M")[0] == 0
    assert read("mine")[1] == [["a", "x", "90000"]]
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--time-format", "%Y")
    assert code == 1
    assert "log.csv:2: at is '02.01.1970 01:00', not a time written as %Y" in err


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_texts_are_read_in_the_encoding_that_is_named(tmp_path, prepare, read, kind):
    text = "who,sku,at\na,Café,1\n" if kind == "csv" else '{"who": "a", "sku": "Café", "at": 1}\n'
    (tmp_path / f"log.{kind}").write_bytes(text.encode("cp1252"))
    assert prepare("table", tmp_path / f"log.{kind}", *COLUMNS)[0] == 1
    assert prepare("table", tmp_path / f"log.{kind}", *COLUMNS, "--encoding", "cp1252")[0] == 0
    assert read("mine")[1] == [["a", "Café", "1"]]


@pytest.mark.parametrize(("name", "words"), [("klingon", "is unknown"), ("utf-16", "convert the file to UTF-8 first")])
def test_an_encoding_that_cannot_be_used_is_refused(log, prepare, name, words):
    code, _, err = prepare("table", log, *COLUMNS, "--encoding", name)
    assert code == 1
    assert words in err


def test_a_history_is_words_or_a_list_of_ids_with_spaces():
    assert split_history("1193  661 914") == ["1193", "661", "914"]
    assert split_history('["x 1", "y", 7]') == ["x 1", "y", "7"]
    assert split_history("1193") == ["1193"]
    assert split_history("[PAD] i1") == ["[PAD]", "i1"]


@pytest.mark.parametrize(
    "expression",
    ["row_number() OVER () < 3", "event = (SELECT max(event) FROM rows)", "count(event) > 1"],
)
def test_a_filter_that_looks_at_other_rows_is_refused(expression):
    rows = [(number, ["buy"]) for number in range(5)]
    with pytest.raises(PreparationError, match="write a condition on one row"):
        list(RowFilter(expression).keep(None, rows, MalformedRows()))


def test_titles_in_another_encoding_are_refused_and_the_option_is_named(tmp_path, prepare, read):
    (tmp_path / "log.csv").write_bytes("who,what,when,name\na,x,1,Caf\u00e9\n".encode("cp1252"))
    options = ["--name=mine", "--user-col=who", "--item-col=what", "--time-col=when", "--title-col=name"]
    code, _, err = prepare("table", tmp_path / "log.csv", *options)
    assert code == 1
    assert "log.csv:2: name is 'Caf\\udce9', which is not UTF-8; name the encoding of the file, such as --enc" in err
    assert prepare("table", tmp_path / "log.csv", *options, "--encoding=cp1252")[0] == 0
    assert read("mine", "item")[1] == [["x", "Caf\u00e9"]]


@pytest.mark.parametrize("skip", [[], ["--skip-bad"]])
def test_a_header_that_cannot_be_read_is_no_row_to_be_skipped(tmp_path, prepare, skip):
    (tmp_path / "log.csv").write_text('"who";"what";"when"\n"a";"x";"1"\n')
    options = ["--name=mine", "--user-col=who", "--item-col=what", "--time-col=when"]
    code, _, err = prepare("table", tmp_path / "log.csv", *options, *skip)
    assert code == 1
    assert "log.csv:1: the header cannot be read as fields between ','" in err


def test_a_column_is_suggested_whatever_its_case(tmp_path, prepare):
    (tmp_path / "log.csv").write_text("who,SKU,when\na,x,1\n")
    options = ["--name=mine", "--user-col=who", "--item-col=sku", "--time-col=when"]
    assert "did you mean 'SKU'?" in prepare("table", tmp_path / "log.csv", *options)[2]
