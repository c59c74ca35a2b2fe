"""MovieLens-1M, whose ``.inter`` file is the one that RecBole publishes."""

import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest

from dataset_prep.__main__ import main

RATINGS = "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n"
MOVIES = (
    "661::James and the Giant Peach (1996)::Animation|Children's\n1193::Am\xe9lie (Fabuleux destin) (2001)::Comedy\n"
)
USERS = "1::F::1::10::48067\n2::M::56::16::70072\n"
GOLDEN = "e943abb91013a54c385828fdf5ab4ce49e957ca3a772adb30cde2a7d5539b389"


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    for name, text in (("ratings", RATINGS), ("movies", MOVIES), ("users", USERS)):
        (folder / f"{name}.dat").write_text(text, encoding="latin-1")
    return folder


def prepare(raw, out="out"):
    return main(["ml-1m", "--raw", str(raw), "--out", out])


def test_ratings_keep_their_order_and_text(raw, capsys):
    assert prepare(raw) == 0
    assert capsys.readouterr().out == "ml-1m: 2 users, 2 items, 3 interactions, in out/ml-1m/ml-1m.inter\n"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    assert Path("out/ml-1m/ml-1m.inter").read_text() == header + RATINGS.replace("::", "\t")


def test_movies_have_the_year_of_the_last_parenthesis_and_latin_1_titles(raw):
    prepare(raw)
    table = pd.read_csv("out/ml-1m/ml-1m.item", sep="\t", dtype=str)
    assert table["release_year:token"].tolist() == ["1996", "2001"]
    assert table["movie_title:token_seq"].tolist() == ["James and the Giant Peach", "Am\xe9lie (Fabuleux destin)"]
    assert table["genre:token_seq"].tolist() == ["Animation Children's", "Comedy"]


def test_gender_and_age_are_not_swapped(raw):
    prepare(raw)
    table = pd.read_csv("out/ml-1m/ml-1m.user", sep="\t", dtype=str)
    assert table["gender:token"].tolist() == ["F", "M"]
    assert table["age:token"].tolist() == ["1", "56"]


def test_a_title_that_begins_with_a_quote_swallows_no_rows(raw):
    (raw / "movies.dat").write_text(
        '661::"Great Performances" Cats (1998)::Musical\n1193::Other (1999)::Drama\n', encoding="latin-1"
    )
    prepare(raw)
    table = pd.read_csv("out/ml-1m/ml-1m.item", sep="\t", dtype=str)
    assert table["movie_title:token_seq"].tolist() == ['"Great Performances" Cats', "Other"]


@pytest.mark.parametrize(
    ("file", "line", "text"),
    [
        ("ratings.dat", 2, "1::661::3\n"),
        ("ratings.dat", 2, "1::661::three::978302109\n"),
        ("movies.dat", 1, "661::No year::Drama\n"),
        ("users.dat", 2, "2::M\n"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_written(raw, capsys, file, line, text):
    lines = (raw / file).read_text(encoding="latin-1").splitlines(keepends=True)
    lines[line - 1] = text
    (raw / file).write_text("".join(lines), encoding="latin-1")
    assert prepare(raw) == 1
    assert f"{file}:{line}: " in capsys.readouterr().err
    assert list(Path("out").rglob("ml-1m.*")) == []


def test_a_failed_preparation_leaves_an_earlier_one_alone(raw):
    prepare(raw)
    before = Path("out/ml-1m/ml-1m.inter").read_text()
    (raw / "ratings.dat").write_text("9::9::9::9\n")
    (raw / "users.dat").write_text("broken\n")
    assert prepare(raw) == 1
    assert Path("out/ml-1m/ml-1m.inter").read_text() == before


@pytest.mark.parametrize("file", ["ratings.dat", "movies.dat", "users.dat"])
def test_a_missing_raw_file_is_named(raw, capsys, file):
    (raw / file).unlink()
    assert prepare(raw) == 1
    assert f"holds no {file}; get ml-1m.zip" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.skipif("ML1M_RAW" not in os.environ, reason="set ML1M_RAW to the folder of the unpacked ml-1m.zip")
def test_the_real_distribution_gives_recboles_published_file(capsys):
    assert prepare(os.environ["ML1M_RAW"]) == 0
    assert "ml-1m: 6,040 users, 3,706 items, 1,000,209 interactions" in capsys.readouterr().out
    assert hashlib.sha256(Path("out/ml-1m/ml-1m.inter").read_bytes()).hexdigest() == GOLDEN
