"""How each dataset's raw layout is read."""

import gzip
import json
from pathlib import Path

import pytest

from dataset_prep.__main__ import SOURCES
from tests.dataset_prep import layouts

ROWS = [(7, 3, 5, 1_400_025_600), (2, 1, 4, 1_399_939_200), (7, 1, 1, 1_400_112_000)]  # midnights
TIMES = [str(row[3]) for row in ROWS]
RATED = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]


def test_later_movielens_keep_ratings_as_written_and_commas_in_titles(tmp_path, prepare, read):
    raw = layouts.write_movielens_csv(tmp_path / "ml-20m.zip", ROWS)
    assert prepare("ml-20m", raw)[0] == 0
    assert read("ml-20m") == (RATED, [[str(u), str(i), f"{r}.0", str(t)] for u, i, r, t in ROWS])
    assert read("ml-20m", "item")[1][0] == ["1", "Film 1, The", "1999", "Drama IMAX"]


def test_ratings_alone_are_enough(tmp_path, prepare, read):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,0.5,1400000000\n")
    assert prepare("ml-latest", tmp_path / "ratings.csv")[0] == 0
    assert read("ml-latest")[1] == [["1", "2", "0.5", "1400000000"]]


def test_a_series_without_a_year_keeps_its_whole_title(tmp_path, prepare, read):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,0.5,1400000000\n")
    (raw / "movies.csv").write_text("movieId,title,genres\n2,Babylon 5 (1994-98),(no genres listed)\n")
    assert prepare("ml-latest", raw)[0] == 0
    assert read("ml-latest", "item")[1] == [["2", "Babylon 5 (1994-98)", "", ""]]


def test_netflix_ratings_belong_to_the_movie_above_them_at_midnight_utc(tmp_path, prepare, read, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert prepare("netflix", layouts.write_netflix(tmp_path / "raw", ROWS))[0] == 0
    by_movie = sorted(ROWS, key=lambda row: row[1])
    assert read("netflix") == (RATED, [list(map(str, row)) for row in by_movie])


def test_netflix_titles_keep_their_commas_and_accents_and_null_years_are_empty(tmp_path, prepare, read):
    prepare("netflix", layouts.write_netflix(tmp_path / "raw", ROWS))
    assert read("netflix", "item")[1] == [["1", "Caf\xe9, 1, Part 2", ""], ["3", "Caf\xe9, 3, Part 2", "1990"]]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_ratings_of_a_netflix_movie_continue_in_the_next_block(tmp_path, prepare, read, monkeypatch, size):
    rows = layouts.walks(12, 5, start=ROWS[0][3])
    raw = layouts.write_netflix(tmp_path / "raw", rows)
    (raw / "combined_data_4.txt").write_text((raw / "combined_data_4.txt").read_text().rstrip("\n"))
    monkeypatch.setattr("dataset_prep.lines.BLOCK_BYTES", size)
    assert prepare("netflix", raw)[0] == 0
    assert read("netflix")[1] == [list(map(str, row)) for row in sorted(rows, key=lambda row: row[1])]


def test_a_netflix_rating_without_a_movie_is_refused(tmp_path, prepare):
    raw = tmp_path / "combined_data_1.txt"
    raw.write_text("7,5,2005-01-01\n1:\n7,5,2005-01-01\n")
    code, _, err = prepare("netflix", raw)
    assert code == 1
    assert "combined_data_1.txt:1: a rating before the first `MovieID:` line" in err


@pytest.mark.parametrize(("action", "kept"), [("click", [1, 2]), ("buy", [0]), ("all", [0, 1, 2])])
def test_tmall_keeps_the_actions_asked_for(tmp_path, prepare, read, action, kept):
    raw = layouts.write_ijcai16(tmp_path / "raw", ROWS)
    assert prepare("tmall", raw, "--action", action)[0] == 0
    header, rows = read("tmall")
    assert header[:5] == ["user_id:token", "seller_id:token", "item_id:token", "category_id:token"] + (
        ["action:token"] if action == "all" else ["timestamp:float"]
    )
    assert [(row[0], row[2], row[-1]) for row in rows] == [(str(ROWS[k][0]), str(ROWS[k][1]), TIMES[k]) for k in kept]


def test_rows_of_other_actions_count_for_the_share_of_malformed_ones(tmp_path, prepare):
    raw = layouts.write_ijcai16(tmp_path / "raw", ROWS)
    (log,) = (file for file in Path(raw).rglob("*") if file.is_file())
    with log.open("a") as rows:
        rows.write("x\ny\n")
    assert prepare("tmall", raw, "--action", "buy", "--skip-bad")[0] == 0


def test_the_older_tmall_log_has_carts_missing_brands_and_days_of_2014(tmp_path, prepare, read):
    raw = layouts.write_ijcai15(tmp_path / "raw", ROWS)
    assert prepare("tmall", raw, "--variant", "ijcai15", "--action", "all")[0] == 0
    header, rows = read("tmall")
    assert [name.partition(":")[0] for name in header][4:] == ["brand_id", "timestamp", "action"]
    assert [row[4:] for row in rows] == [["", TIMES[0], "cart"], ["", TIMES[1], "click"], ["", TIMES[2], "cart"]]


def test_an_action_that_the_log_does_not_have_is_refused(tmp_path, prepare):
    code, _, err = prepare("tmall", layouts.write_ijcai16(tmp_path / "raw", ROWS), "--action", "cart")
    assert code == 1
    assert "--action cart: ijcai16 has no such action; choose from click, buy and all" in err


@pytest.mark.parametrize(("level", "shift"), [("artists", 0), ("albums", 1000), ("tracks", 2000)])
def test_lfm_items_are_what_the_level_says(tmp_path, prepare, read, level, shift):
    assert prepare("lfm-1b", layouts.write_lfm(tmp_path / "raw", ROWS), "--level", level)[0] == 0
    assert read("lfm-1b")[1] == [[str(u), str(i + shift), str(t)] for u, i, _, t in ROWS]
    assert [row[0] for row in read("lfm-1b", "item")[1]] == [str(i + shift) for i in (1, 3)]


def test_lfm_question_marks_are_missing_values(tmp_path, prepare, read):
    prepare("lfm-1b", layouts.write_lfm(tmp_path / "raw", ROWS))
    assert read("lfm-1b", "user")[1][0] == ["2", "AT", "", "m", "100", "1035849600"]


@pytest.mark.parametrize("write", [layouts.write_amazon_ratings, layouts.write_amazon_reviews])
def test_amazon_ratings_and_reviews_give_the_same_interactions(tmp_path, prepare, read, write):
    assert prepare("amazon-beauty", write(tmp_path / "raw", ROWS))[0] == 0
    expected = [[f"A{u}XYZ", layouts.asin(i), f"{r}.0", str(t)] for u, i, r, t in ROWS]
    assert read("amazon-beauty") == (RATED, expected)


def test_amazon_products_are_read_as_python_literals(tmp_path, prepare, read):
    prepare("amazon-beauty", layouts.write_amazon_reviews(tmp_path / "raw", ROWS))
    product = [layouts.asin(1), "Soap 'n' \"1\"", "Beauty Hair_Care", " None", "Beauty", "1", "9.99"]
    assert read("amazon-beauty", "item")[1][0] == product


def test_amazon_ratings_of_2018_have_the_item_first_whatever_the_file_is_called(tmp_path, prepare, read):
    for name in ("ratings_Beauty.csv", "Beauty.csv"):
        text = "".join(f"{layouts.asin(i)},A{u}XYZ,{r}.0,{t}\n" for u, i, r, t in ROWS)
        (tmp_path / name).write_text(text)
        code, _, err = prepare("amazon-beauty", tmp_path / name)
        assert code == 0
        assert f"{name} has the columns asin,user,rating,unixtime of Amazon's ratings of 2018" in err
        expected = [[f"A{u}XYZ", layouts.asin(i), f"{r}.0", str(t)] for u, i, r, t in ROWS]
        assert read("amazon-beauty") == (RATED, expected)


def test_amazon_data_of_2023_have_times_in_milliseconds(tmp_path, prepare, read):
    header = "user_id,parent_asin,rating,timestamp"
    rows = [[f"A{u}XYZ", layouts.asin(i), f"{r}.0", t * 1000 + 250] for u, i, r, t in ROWS]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "Beauty.csv.gz").write_bytes(gzip.compress(f"{header}\n{text}".encode()))
    lines = [json.dumps(dict(zip(header.split(","), row, strict=True))) + "\n" for row in rows]
    (tmp_path / "Beauty.jsonl").write_text("".join(lines))
    for name in ("Beauty.csv.gz", "Beauty.jsonl"):
        assert prepare("amazon-beauty", tmp_path / name)[0] == 0
        expected = [[f"A{u}XYZ", layouts.asin(i), f"{r}.0", f"{t}.25"] for u, i, r, t in ROWS]
        assert read("amazon-beauty") == (RATED, expected)


@pytest.mark.parametrize(
    ("name", "product", "row"),
    [
        (
            "meta_Beauty.json",
            {"asin": "B1", "title": "Soap", "category": ["Beauty", "Hair Care"], "brand": "X", "price": "$1,009.99"},
            ["B1", "Soap", "Beauty Hair_Care", "X", "", "", "1009.99"],
        ),
        (
            "meta_Beauty.jsonl",
            {"parent_asin": "B1", "title": "Soap", "categories": ["Hair Care"], "store": None, "price": "from 9"},
            ["B1", "Soap", "Hair_Care", "", "", "", ""],
        ),
    ],
)
def test_the_metadata_of_later_amazon_data_are_json(tmp_path, prepare, read, name, product, row):
    raw = layouts.write_amazon_ratings(tmp_path / "raw", ROWS)
    (raw / name).write_text(json.dumps(product) + "\n")
    assert prepare("amazon-beauty", raw)[0] == 0
    assert read("amazon-beauty", "item")[1] == [row]


@pytest.mark.parametrize(
    ("name", "file", "text", "reason"),
    [
        ("amazon-beauty", "ratings_Beauty.csv", "a,b,5.0,1400000000\n", ":1: column 2 does not look like asin"),
        (
            "amazon-beauty",
            "ratings_Beauty.csv",
            "5.0,B000000001,A1,1400000000\n",
            "expected user,asin,rating,unixtime (Amazon's",
        ),
        ("amazon-beauty", "ratings_Beauty.csv", "A1,B000000001,5.0,1400000000000\n", "does not look like unixtime"),
        ("amazon-beauty", "Beauty.csv", "user_id,parent_asin,rating,timestamp\nA1,B000000001,5,1400000000\n", ":2: "),
        ("ml-1m", "ratings.dat", "1::2::1400000000::3\n", "column 3 does not look like Rating"),
        (
            "ml-20m",
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,2,3,4\n",
            "column 4 does not look like timestamp",
        ),
        ("lfm-1b", "LFM-1b_LEs.txt", "1400000000\t1\t2\t3\t4\n", "column 5 does not look like time"),
        ("netflix", "combined_data_1.txt", "1:\n3,15000,2005-01-01\n", "Rating is '15000', not a whole number from 1"),
    ],
)
def test_columns_that_do_not_look_like_what_they_are_stop_the_preparation(tmp_path, prepare, name, file, text, reason):
    (tmp_path / file).write_text(text)
    code, _, err = prepare(name, tmp_path / file, "--name", "x")
    assert code == 1
    assert f"{file}:" in err
    assert reason in err


def test_two_kinds_of_amazon_ratings_in_one_folder_are_refused(tmp_path, prepare):
    raw = layouts.write_amazon_reviews(tmp_path / "raw", ROWS)
    (raw / "ratings_Beauty.csv").write_text("A,B,5.0,1\n")
    code, _, err = prepare("amazon-beauty", raw)
    assert code == 1
    assert "point --raw at one of them" in err


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"table"}))
def test_for_an_empty_folder_the_message_says_what_to_get_and_where(tmp_path, prepare, name):
    (tmp_path / "empty").mkdir()
    code, _, err = prepare(name, tmp_path / "empty")
    assert code == 1
    assert "http" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "write", "file", "line", "text", "reason"),
    [
        (
            "netflix",
            layouts.write_netflix,
            "combined_data_2.txt",
            2,
            "7,5,0000-01-01",
            "Date is '0000-01-01', not a date",
        ),
        (
            "netflix",
            layouts.write_netflix,
            "combined_data_2.txt",
            2,
            "7,five,2005-01-01",
            "Rating is 'five', not a number",
        ),
        ("netflix", layouts.write_netflix, "movie_titles.csv", 2, "3;1990;x", "expected MovieID,year,title"),
        ("tmall", layouts.write_ijcai16, "ijcai2016_taobao.csv", 3, "1,9,1,5,2,20150101", "act_ID is '2', not one of"),
        ("tmall", layouts.write_ijcai16, "ijcai2016_taobao.csv", 1, "user,item", "expected use_ID,sel_ID"),
        (
            "tmall",
            layouts.write_ijcai16,
            "ijcai2016_taobao.csv",
            4,
            "1,9,1,5,0,20150230",
            "time is '20150230', not a date",
        ),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_LEs.txt", 2, "1\t2\t3\t4\t-5", "time is '-5', not a whole number"),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_LEs.txt", 2, "1\t2\t3\t4", "expected user"),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_LEs.txt", 3, "1\t2\t3\t4\t99999999999999999999", "too large a number"),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_users.txt", 2, "1\tAT\told\tm\t1\t1", "age is 'old', not a number"),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_artists.txt", 1, "1\tBj\udcf6rk", "is not utf-8"),
        (
            "amazon-beauty",
            layouts.write_amazon_ratings,
            "ratings_Beauty.csv",
            2,
            "NA,B1,5.0,1",
            "user is 'NA', which RecBole",
        ),
        ("amazon-beauty", layouts.write_amazon_ratings, "ratings_Beauty.csv", 1, "A,B,5.0,", "unixtime is ''"),
        (
            "amazon-beauty",
            layouts.write_amazon_ratings,
            "ratings_Beauty.csv",
            1,
            "A,B,inf,1",
            "rating is 'inf', not a number",
        ),
    ],
)
def test_a_malformed_row_stops_with_file_line_and_reason_or_is_skipped_and_counted(
    tmp_path, prepare, name, write, file, line, text, reason
):
    raw = write(tmp_path / "raw", [*ROWS, (9, 2, 2, ROWS[0][3])])
    options = ["--action", "all"] if name == "tmall" else []
    lines = (raw / file).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    lines[line - 1] = text
    (raw / file).write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    code, _, err = prepare(name, raw, *options)
    assert code == 1
    assert f"{file}:{line}: " in err
    assert reason in err
    code, out, err = prepare(name, raw, *options, "--skip-bad")
    if text == "user,item":
        # A header with other columns is not a row.
        assert code == 1
    else:
        assert code == 0
        assert f"skipped 1 malformed row, the first: {raw / file}:{line}: " in err
        interactions = 4 if file in ("LFM-1b_artists.txt", "LFM-1b_users.txt", "movie_titles.csv") else 3
        assert f"{interactions} interactions" in out


@pytest.mark.parametrize("value", [5, ["a"], {"a": 1}, True, None, [], {}, "x", float("nan"), [[["a"]]]])
@pytest.mark.parametrize("field", ["asin", "title", "brand", "store", "category", "categories", "salesRank", "price"])
def test_amazon_metadata_of_another_type_are_tolerated_or_named_with_field_and_line(
    tmp_path, prepare, read, field, value
):
    raw = layouts.write_amazon_ratings(tmp_path / "raw", ROWS)
    good = {"asin": layouts.asin(1), "title": "a"}
    (raw / "meta_Beauty.json").write_text(json.dumps(good) + "\n" + json.dumps({**good, field: value}) + "\n")
    code, _, err = prepare("amazon-beauty", raw)
    if code:
        assert f"meta_Beauty.json:2: {field} is " in err
    else:
        assert "[" not in "".join(read("amazon-beauty", "item")[1][1])


@pytest.mark.parametrize("line", ["[1]", "5", '"a"', "null", "{}", "{1: 2}", "[" * 5000, "-" * 5000 + "1"])
def test_a_line_of_amazon_metadata_that_is_no_product_is_named(tmp_path, prepare, line):
    raw = layouts.write_amazon_ratings(tmp_path / "raw", ROWS)
    (raw / "meta_Beauty.json").write_text(line)
    code, _, err = prepare("amazon-beauty", raw)
    assert code == 1
    assert "meta_Beauty.json:1: expected a Python dict (2014) or JSON" in err


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True, None])
@pytest.mark.parametrize("field", ["reviewerID", "asin", "overall", "unixReviewTime"])
def test_a_field_of_an_amazon_review_that_is_neither_text_nor_a_number_is_named(tmp_path, prepare, field, value):
    (tmp_path / "raw").mkdir()
    review = {"reviewerID": "u", "asin": "B000000001", "overall": 5.0, "unixReviewTime": 1400000000, field: value}
    (tmp_path / "raw" / "reviews_Beauty.json").write_text(json.dumps(review))
    code, _, err = prepare("amazon-beauty", tmp_path / "raw")
    assert code == 1
    assert f"reviews_Beauty.json:1: {field} is " in err


@pytest.mark.parametrize(
    ("name", "write", "file"),
    [
        ("ml-1m", layouts.write_ml1m, "ratings.dat"),
        ("netflix", layouts.write_netflix, "combined_data_2.txt"),
        ("amazon-beauty", layouts.write_amazon_ratings, "ratings_Beauty.csv"),
        ("lfm-1b", layouts.write_lfm, "LFM-1b_LEs.txt"),
    ],
)
def test_empty_lines_of_any_source_are_no_rows(tmp_path, prepare, name, write, file):
    raw = write(tmp_path / "raw", ROWS)
    before = prepare(name, raw)[1]
    with open(raw / file, "ab") as raw_file:
        raw_file.write(b"\n \n")
    code, out, err = prepare(name, raw)
    assert (code, out) == (0, before)
    assert "left out 2 empty lines" in err or "left out 1 empty line\n" in err
