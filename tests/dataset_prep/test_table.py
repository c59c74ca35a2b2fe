"""A log of your own, in any of the four formats."""

import gzip
import json
import random
import zipfile
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dataset_prep import raw_files
from dataset_prep.__main__ import main
from recbole_echomamba import Config, create_dataset
from tests.dataset_prep.test_atomic_file import KEEP_ALL, TEXT, is_identifier

COLUMNS = ["--name", "mine", "--user-col", "who", "--item-col", "what", "--time-col", "when"]
ROWS = [("b", "x y", "1700000003"), ("a", "007", "1700000001"), ("b", "x y", "1700000002.5")]
PACKED = [["b", "x y", "1700000003"], ["a", "007", "1700000001"], ["b", "x y", "1700000002.5"]]
HEADER = ["user_id:token", "item_id:token", "timestamp:float"]


def write_csv(file, delimiter=","):
    lines = [delimiter.join(("note", "what", "who", "when"))]
    lines += [delimiter.join(('"two\nlines, ""quoted"""', item, user, time)) for user, item, time in ROWS]
    file.write_text("\ufeff" + "\r\n".join(lines), newline="")
    return file


def write_json(file):
    rows = [{"who": user, "what": item, "when": json.loads(time), "extra": [1]} for user, item, time in ROWS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_parquet(file):
    users, items, times = zip(*ROWS, strict=True)
    table = pa.table({"when": list(map(float, times)), "who": users, "what": items, "more": [{"a": 1}] * 3})
    pa.parquet.write_table(table, file, row_group_size=2)
    return file


def write_gzip(file):
    file.write_bytes(gzip.compress(write_json(file.with_name("plain.jsonl")).read_bytes()))
    return file


def write_zip(file):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(write_parquet(file.with_name("plain.parquet")), "log.parquet")
    return file


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("log.csv", write_csv),
        ("log.tsv", lambda file: write_csv(file, "\t")),
        ("log.jsonl", write_json),
        ("log.ndjson.gz", write_gzip),
        ("log.parquet", write_parquet),
        ("log.zip", write_zip),
    ],
)
def test_every_format_gives_the_same_interactions_in_their_order(tmp_path, prepare, read, file, write):
    code, out, _ = prepare("table", write(tmp_path / file), *COLUMNS, *(["--quote"] if file == "log.tsv" else []))
    assert (code, out) == (0, "mine: 2 users, 2 items, 3 interactions, in out/mine/mine.inter\n")
    assert read("mine") == (HEADER, PACKED)


def test_the_rows_of_all_files_are_kept_in_order_and_counted(tmp_path, prepare, read, capsys):
    days = tmp_path / "days"
    days.mkdir()
    (days / "2.csv.gz").write_bytes(gzip.compress(b"who,what,when\na,x,3\na,y,4\n"))
    (days / "1.jsonl").write_text('{"who": "b", "what": "z", "when": 2}\n')
    (days / "_SUCCESS").touch()
    (tmp_path / "first.tsv").write_text("when\twho\twhat\n5\tc\tx\n")
    assert main(["table", f"--raw={tmp_path}/first.tsv", "--raw", str(days), "--out=out", *COLUMNS]) == 0
    assert read("mine")[1] == [["c", "x", "5"], ["b", "z", "2"], ["a", "x", "3"], ["a", "y", "4"]]
    printed = capsys.readouterr()
    assert printed.err == f"left out files with names that begin with . or _: {days}/_SUCCESS\n"
    assert printed.out.splitlines() == [
        f"1 row from {tmp_path}/first.tsv",
        f"1 row from {days}/1.jsonl",
        f"2 rows from {days}/2.csv.gz",
        "mine: 3 users, 3 items, 4 interactions, in out/mine/mine.inter",
    ]
    _, out, _ = prepare("table", days / "*", *COLUMNS)
    assert out.splitlines()[-1] == "mine: 2 users, 3 items, 3 interactions, in out/mine/mine.inter"


def test_many_files_are_summed_up(tmp_path, prepare, monkeypatch):
    monkeypatch.setattr("dataset_prep.preparation.MOST_LISTED_FILES", 2)
    for day in range(3):
        (tmp_path / f"{day}.csv").write_text("who,what,when\n" + "a,x,1\n" * day)
    code, out, _ = prepare("table", tmp_path, *COLUMNS)
    assert code == 0
    assert out.startswith(
        f"3 rows from 3 files: between 0 rows from {tmp_path}/0.csv and 2 rows from {tmp_path}/2.csv\n"
    )


def test_the_order_of_the_files_is_part_of_what_a_dataset_is_made_from(tmp_path, capsys, read):
    (tmp_path / "1.csv").write_text("who,what,when\na,x,1\n")
    (tmp_path / "2.csv").write_text("who,what,when\na,y,1\n")
    for order, items in (("12", ["x", "y"]), ("21", ["y", "x"])):
        paths = [str(tmp_path / f"{day}.csv") for day in order]
        assert main(["table", "--raw", *paths, "--out=out", *COLUMNS]) == 0
        assert "nothing to do" not in capsys.readouterr().out
        assert [row[1] for row in read("mine")[1]] == items


@pytest.mark.parametrize("second", ["log.csv", "../{folder}/log.csv", "log.csv.gz", "*.csv"])
def test_a_file_that_would_be_read_twice_is_refused(tmp_path, capsys, second):
    text = b"who,what,when\na,x,1\n"
    (tmp_path / "log.csv").write_bytes(text)
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text))
    again = f"{tmp_path}/{second.format(folder=tmp_path.name)}"
    assert main(["table", f"--raw={tmp_path}/log.csv", f"--raw={again}", "--out=out", *COLUMNS]) == 1
    assert "would be read twice" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(("name", "options"), [("log.tsv", []), ("log.csv", ["--delimiter=\t"]), ("log.csv", "no")])
def test_quotes_in_unquoted_text_are_kept_and_swallow_no_rows(tmp_path, prepare, read, name, options):
    items = ['"Intro', "Two", 'Four 12"', '"Heroes"', "Heroes", 'Five "x" 5']
    delimiter = "," if options == "no" else "\t"
    lines = ["who", "when", "what"], *(("a", str(n), item) for n, item in enumerate(items))
    (tmp_path / name).write_text("".join(delimiter.join(line) + "\n" for line in lines))
    code, out, err = prepare("table", tmp_path / name, *COLUMNS, *(["--no-quote"] if options == "no" else options))
    assert (code, out, err) == (0, "mine: 1 user, 6 items, 6 interactions, in out/mine/mine.inter\n", "")
    assert [row[1] for row in read("mine")[1]] == items


def test_a_quoted_field_over_several_lines_is_reported_with_its_line(tmp_path, prepare):
    (tmp_path / "log.csv").write_text('who,when,what\na,1,"x\nb,2,y"\na,3,z\n')
    _, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad")
    assert "rows of several lines: 1, the first: " in err
    assert "log.csv:2: a quoted field makes 2 lines one row; if quotes are part of the text, add --no-quote" in err


@pytest.mark.parametrize("header", ["who\twhat\twhen", '"who"\t"what"\t"when"'])
def test_the_option_for_quoted_tabs_is_named_where_it_may_be_needed(tmp_path, prepare, header):
    (tmp_path / "log.tsv").write_text(f'{header}\na\t"x\ty"\t1\n')
    code, _, err = prepare("table", tmp_path / "log.tsv", *COLUMNS)
    assert code == 1
    assert "if quotes enclose fields, add --quote" in err


def test_skipped_rows_are_counted_by_reason_with_the_first_place_of_each(tmp_path, prepare):
    rows = ["a,x,1", ",x,1", ",y,1", "a,x,soon", "a,x,later", "a,x,never", "a,x"]
    (tmp_path / "log.csv").write_text("who,what,when\n" + "\n".join(rows) + "\n")
    _, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad=0.9")
    log = tmp_path / "log.csv"
    assert err.splitlines()[1:] == [
        f"  3 rows: when is neither a number nor an ISO time (the first in {log}:5)",
        f"  2 rows: who is empty (the first in {log}:3)",
        f"  1 row: 2 fields where the header has 3 (the first in {log}:8)",
    ]


def test_a_column_chosen_twice_is_refused(tmp_path, prepare):
    columns = [*COLUMNS[:-1], "what"]
    code, _, err = prepare("table", write_csv(tmp_path / "log.csv"), *columns)
    assert code == 1
    assert "a column is chosen twice: who, what, what" in err


def test_ratings_are_written_unchanged(tmp_path, prepare, read):
    (tmp_path / "log.csv").write_text("who,what,when,stars\na,x,1,-1.50\nb,y,2,1e3\n")
    assert prepare("table", tmp_path / "log.csv", *COLUMNS, "--rating-col", "stars")[0] == 0
    assert read("mine") == (
        [*HEADER[:2], "rating:float", HEADER[2]],
        [["a", "x", "-1.50", "1"], ["b", "y", "1e3", "2"]],
    )


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("0", "0"),
        ("100", "100"),
        ("1700000000123456789", "1700000000123456789"),
        ("1700000000.123456789", "1700000000.123456789"),
        ("9999999999999999999.999999999", "9999999999999999999.999999999"),
        ("1.7e9", "1700000000"),
        ("1970-01-02", "86400"),
        ("1970-01-01 00:01", "60"),
        ("1970-01-01T00:00:00.5Z", "0.5"),
        ("1970-01-01T02:00:00+02:00", "0"),
        ("9999-12-31T23:59:59.999999", "253402300799.999999"),
    ],
)
def test_times_are_exact(tmp_path, prepare, read, time, seconds):
    (tmp_path / "log.csv").write_text(f"who,what,when\na,x,{time}\n")
    assert prepare("table", tmp_path / "log.csv", *COLUMNS)[0] == 0
    assert read("mine")[1] == [["a", "x", seconds]]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (datetime(2023, 11, 14, 22, 13, 20, 500_000), "1700000000.5"),
        (datetime(2023, 11, 15, 0, 13, 20, 500_000, tzinfo=timezone(timedelta(hours=2))), "1700000000.5"),
        (pd.Timestamp("2023-11-14 22:13:20.500000123"), "1700000000.500000123"),
        (pd.Timestamp("2023-11-14 22:13:20.500000123", tz="UTC"), "1700000000.500000123"),
    ],
)
def test_parquet_times_are_in_utc_whatever_their_type(tmp_path, prepare, read, time, seconds):
    table = pd.DataFrame({"who": [7], "what": ["x"], "when": [time]})
    table.to_parquet(tmp_path / "log.parquet")
    assert prepare("table", tmp_path / "log.parquet", *COLUMNS)[0] == 0
    assert read("mine")[1] == [["7", "x", seconds]]


def test_parquet_days_are_midnights(tmp_path, prepare, read):
    pa.parquet.write_table(pa.table({"who": [1], "what": [2], "when": [date(1970, 1, 3)]}), tmp_path / "log.parquet")
    assert prepare("table", tmp_path / "log.parquet", *COLUMNS)[0] == 0
    assert read("mine")[1] == [["1", "2", "172800"]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,x", "2 fields where the header has 3"),
        ("a,x,soon", "when is 'soon', neither a number nor an ISO time"),
        ("a,x,0000-01-01", "neither a number nor an ISO time"),
        ("a,x,-1", "when is -1, out of range"),
        ("a,x,1969-12-31", "out of range"),
        ("a,x,nan", "neither a number nor an ISO time"),
        ("a,x,1e19", "out of range"),
        ("NA,x,1", "who is 'NA', which RecBole reads as a missing value"),
        ("null,x,1", "who is 'null'"),
        ("a,None,1", "what is 'None'"),
        ("a,,1", "what is empty"),
        ("a,\udcff,1", "which is not UTF-8"),
        ('"a\tb",x,1', "cannot hold tabs"),
        ('"a\nb",x,1', "cannot hold tabs, line ends"),
        ('"a"b,x,1', "expected after"),
    ],
)
def test_a_malformed_row_stops_with_its_line_or_is_skipped_and_counted(tmp_path, prepare, read, row, reason):
    text = f"who,what,when\na,x,1\n{row}\nb,y,2\n"
    (tmp_path / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS)
    assert code == 1
    assert "log.csv:3: " in err
    assert reason in err
    assert "--skip-bad" in err
    assert ("--time-format='%d.%m.%Y %H:%M'" in err) == ("neither a number nor" in reason)
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad")
    assert code == 0
    assert "skipped 1 malformed row, the first: " in err
    assert err.splitlines()[-1].startswith("  1 row: ")
    assert read("mine")[1] == [["a", "x", "1"], ["b", "y", "2"]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"who": 1.5, "what": 2, "when": 3}', "who is Decimal('1.5'), neither text nor a whole number"),
        ('{"who": true, "what": 2, "when": 3}', "neither text nor a whole number"),
        ('{"who": 1, "what": null, "when": 3}', "what is None"),
        ('{"who": 1, "what": 2}', "there is no 'when'"),
        ('{"who": 1, "what": 2, "when": NaN}', "when is nan, out of range"),
        ('{"who": 1, "what": 2, "when": true}', "not a time"),
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"who": "\udcff", "what": 2, "when": 3}', "is not utf-8"),
    ],
)
def test_a_malformed_json_line_is_named(tmp_path, prepare, row, reason):
    text = f'{{"who": 1, "what": 2, "when": 3}}\n{row}\n'
    (tmp_path / "log.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    code, _, err = prepare("table", tmp_path / "log.jsonl", *COLUMNS)
    assert code == 1
    assert "log.jsonl:2: " in err
    assert reason in err
    assert prepare("table", tmp_path / "log.jsonl", *COLUMNS, "--skip-bad")[0] == 0


def test_dates_without_hyphens_beside_iso_dates_are_refused(tmp_path, prepare):
    for rows in ("a,x,2024-02-01\na,y,20240131\n", "a,y,20240131\na,x,2024-02-01\n"):
        (tmp_path / "log.csv").write_text("who,what,when\n" + rows)
        code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS)
        assert code == 1
        assert "log.csv:3: when is " in err
        assert "a date without hyphens or a number of seconds" in err


def test_json_lines_in_another_encoding_name_the_option_and_may_begin_with_a_mark(tmp_path, prepare, read):
    row = '{"who": "é", "what": "x", "when": 3}\n'
    (tmp_path / "log.jsonl").write_bytes(row.encode("latin-1"))
    code, _, err = prepare("table", tmp_path / "log.jsonl", *COLUMNS)
    assert code == 1
    assert "log.jsonl:1: is not utf-8; name the encoding of the file, such as --encoding=cp1252" in err
    (tmp_path / "marked.jsonl").write_bytes(row.encode("utf-8-sig"))
    assert prepare("table", tmp_path / "marked.jsonl", *COLUMNS)[0] == 0
    assert read("mine")[1] == [["é", "x", "3"]]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_missing_column_is_named_with_the_existing_ones(tmp_path, prepare, kind):
    table = pd.DataFrame({"who": [1], "item": [2], "when": [3]})
    getattr(table, f"to_{kind}")(tmp_path / f"log.{kind}", index=False)
    code, _, err = prepare("table", tmp_path / f"log.{kind}", *COLUMNS)
    assert code == 1
    assert "there is no column 'what' among who, item, when" in err


def test_the_nearest_column_is_suggested_and_a_failed_preparation_leaves_no_folder(tmp_path, prepare):
    (tmp_path / "log.csv").write_text("who,whatt,when\na,x,1\n")
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS)
    assert code == 1
    assert "did you mean 'whatt'?" in err
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_a_quote_that_never_closes_stops_even_when_bad_rows_are_skipped(tmp_path, prepare):
    (tmp_path / "log.csv").write_text('who,what,when\na,x,1\n"b,y,2\nc,z,3\n')
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad")
    assert code == 1
    assert "log.csv:3: a quote opens here and never closes" in err


@pytest.mark.parametrize(
    ("file", "reason"), [("log.xlsx", "has an unknown format"), ("log.parquet", "cannot be read as Parquet")]
)
def test_a_file_of_an_unknown_format_is_refused(tmp_path, prepare, file, reason):
    (tmp_path / file).write_text("hello")
    code, _, err = prepare("table", tmp_path / file, *COLUMNS)
    assert code == 1
    assert f"{file} {reason}" in err
    assert err.count("\n") == 1


def test_a_truncated_parquet_is_refused(tmp_path, prepare):
    packed = gzip.compress(write_parquet(tmp_path / "plain.parquet").read_bytes())
    (tmp_path / "log.parquet.gz").write_bytes(packed[:-20])
    code, _, err = prepare("table", tmp_path / "log.parquet.gz", *COLUMNS)
    assert code == 1
    assert "log.parquet.gz cannot be read as Parquet: " in err
    assert err.count("\n") == 1


@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(st.lists(TEXT.filter(is_identifier), min_size=15, max_size=30, unique=True))
def test_any_id_comes_back_from_recboles_loader(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("table")
    rows = [(user, item, n) for user in ids for n, item in enumerate(reversed(ids))]
    lines = [json.dumps(dict(zip(("who", "what", "when"), row, strict=True))) + "\n" for row in rows]
    (folder / "log.jsonl").write_text("".join(lines))
    assert main(["table", "--raw", str(folder / "log.jsonl"), "--out", str(folder), *COLUMNS]) == 0
    dataset = create_dataset(Config("SASRec", "mine", config_dict={**KEEP_ALL, "data_path": str(folder)}))
    feat = dataset.inter_feat
    users, items = (dataset.id2token(field, feat[field]) for field in ("user_id", "item_id"))
    assert list(zip(users, items, feat["timestamp"].astype(int), strict=True)) == rows


def test_an_empty_log_is_an_error(tmp_path, prepare):
    (tmp_path / "log.csv").write_text("who,what,when\n")
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS)
    assert code == 1
    assert "hold no interactions" in err
    assert not list(Path("out").rglob("mine.*"))


def test_another_delimiter_is_guessed_in_the_error_and_taken_when_named(tmp_path, prepare):
    log = tmp_path / "log.csv"
    log.write_text("who;what;when\nu1;i1;1\nu1;i2;2\n")
    code, _, err = prepare("table", log, *COLUMNS)
    assert code == 1
    assert "use --delimiter=';'?" in err
    assert prepare("table", log, *COLUMNS, "--delimiter", ";")[0] == 0
    assert prepare("table", log, *COLUMNS, "--delimiter", ";;")[0] == 1
    log.write_text("")
    code, _, err = prepare("table", log, *COLUMNS, "--force")
    assert code == 1
    assert "log.csv is empty" in err


def test_the_name_of_a_known_dataset_is_refused(tmp_path, prepare, capsys):
    with pytest.raises(SystemExit):
        prepare("table", write_csv(tmp_path / "log.csv"), *COLUMNS, "--name", "ml-1m")
    assert "'ml-1m' is the name of a dataset with its own settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "../mine", "a\\b", "a\tb", "a\nb", "\0", "x" * 151, "\udcff"]
)
def test_a_name_that_is_a_path_is_refused(tmp_path, prepare, capsys, name):
    with pytest.raises(SystemExit):
        prepare("table", write_csv(tmp_path / "log.csv"), *COLUMNS, "--name", name)
    assert "must be a short, plain name" in capsys.readouterr().err


@pytest.mark.parametrize("repeated", ["rows", "text"])
def test_a_parquet_of_few_bytes_with_endless_rows_is_refused_and_max_ratio_lets_it_in(
    tmp_path, prepare, monkeypatch, repeated
):
    monkeypatch.setattr(raw_files, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    rows, text = {"rows": (100_000, "a"), "text": (500, "a" * 10_000)}[repeated]
    table = pa.table({"who": [text] * rows, "what": ["b"] * rows, "when": [1] * rows})
    pa.parquet.write_table(table, tmp_path / "log.parquet")
    code, _, err = prepare("table", tmp_path / "log.parquet", *COLUMNS)
    assert code == 1
    assert "log.parquet would unpack to more than 200 times its compressed size" in err
    assert prepare("table", tmp_path / "log.parquet", *COLUMNS, "--max-ratio", 100_000)[0] == 0


@pytest.mark.parametrize("column", ["who", "when"])
def test_a_parquet_text_that_is_not_utf8_is_refused_with_its_row(tmp_path, prepare, column):
    table = pa.table({"who": ["a", "b"], "what": ["c", "d"], "when": ["1", "2"]})
    broken = pa.array([b"1", b"\xff"]).view(pa.string())
    table = table.set_column(table.schema.get_field_index(column), column, broken)
    pa.parquet.write_table(table, tmp_path / "log.parquet")
    code, _, err = prepare("table", tmp_path / "log.parquet", *COLUMNS)
    assert code == 1
    assert "log.parquet:2: " in err
    assert "bug" not in err


def test_no_damaged_byte_of_a_parquet_is_a_bug_or_ends_the_process(tmp_path, prepare):
    content = write_parquet(tmp_path / "log.parquet").read_bytes()
    draw = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        (tmp_path / "log.parquet").write_bytes(damaged)
        code, _, err = prepare("table", tmp_path / "log.parquet", *COLUMNS, "--force")
        assert "bug" not in err
        assert code == 0 or len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_empty_lines_are_no_rows_and_are_counted(tmp_path, prepare, read, name):
    rows = [{"who": "a", "what": "x", "when": n} for n in range(3)]
    if name == "log.jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = ["who,what,when", *(",".join(map(str, row.values())) for row in rows)]
    lines[2:2] = ["", "  "]
    (tmp_path / name).write_text("\r\n".join(lines) + "\n\n", newline="")
    code, _, err = prepare("table", tmp_path / name, *COLUMNS)
    assert (code, err) == (0, "left out 3 empty lines\n")
    assert [row[2] for row in read("mine")[1]] == ["0", "1", "2"]


def test_most_rows_are_not_skipped_unless_asked_for(tmp_path, prepare, read):
    dates = [f"{day:02}.03.2025 20:57" for day in range(1, 9)]
    rows = [f"a,x{n},{date}" for n, date in enumerate(["2025-03-01", *dates])]
    (tmp_path / "log.csv").write_text("who,what,when\n" + "\n".join(rows) + "\n")
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad")
    assert code == 1
    assert "8 of 9 rows are malformed, the first: " in err
    assert "--skip-bad=1" in err
    assert not Path("out/mine").exists()
    code, _, err = prepare("table", tmp_path / "log.csv", *COLUMNS, "--skip-bad=1")
    assert (code, len(read("mine")[1])) == (0, 1)
    assert "skipped 8 malformed rows" in err


def test_rows_that_a_filter_leaves_out_are_rows_that_could_be_read(tmp_path, prepare, read):
    rows = [*(f"a,x{n},{n},view" for n in range(9)), "a,y,1,buy", "a,z", "a,w"]
    (tmp_path / "log.csv").write_text("who,what,when,event\n" + "\n".join(rows) + "\n")
    code, _, _ = prepare("table", tmp_path / "log.csv", *COLUMNS, "--where=event = 'buy'", "--skip-bad")
    assert (code, read("mine")[1]) == (0, [["a", "y", "1"]])


@pytest.mark.parametrize("share", ["0", "1.1", "-1", "all", "nan"])
def test_the_share_of_malformed_rows_is_above_zero_and_at_most_one(tmp_path, prepare, share, capsys):
    with pytest.raises(SystemExit):
        prepare("table", tmp_path / "log.csv", *COLUMNS, f"--skip-bad={share}")
    assert "must be a share above 0 and at most 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20.123456789", "1700000000.123456789"),
        ("2023-11-14 22:13:20.1234567Z", "1700000000.1234567"),
        ("2023-11-15T00:13:20.12345678+02:00", "1700000000.12345678"),
        ("2023-11-14T22:13:20.123456", "1700000000.123456"),
        ("1700000000.123456789", "1700000000.123456789"),
    ],
)
def test_times_keep_their_nanoseconds(tmp_path, prepare, read, text, seconds):
    (tmp_path / "log.csv").write_text(f"who,what,when\na,x,{text}\n")
    assert prepare("table", tmp_path / "log.csv", *COLUMNS)[0] == 0
    assert read("mine")[1] == [["a", "x", seconds]]
