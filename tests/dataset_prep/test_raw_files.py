"""Archives are streamed; damaged and untrustworthy ones are refused."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from dataset_prep import raw_files
from dataset_prep.errors import MissingFileError, PreparationError
from dataset_prep.raw_files import RawFiles
from tests.dataset_prep import layouts
from tests.dataset_prep.test_sources import ROWS


def pack_tar(file, folder, inside="download/training_set"):
    with tarfile.open(file, "w" if file.suffix == ".tar" else "w:gz") as packed:
        packed.add(folder, arcname=inside)
    return file


def training_set(tmp_path):
    """The Netflix Prize as it was distributed: one file a movie."""
    folder = tmp_path / "training_set"
    folder.mkdir()
    for movie in sorted({row[1] for row in ROWS}):
        text = "".join(layouts.netflix_lines([row for row in ROWS if row[1] == movie]))
        (folder / f"mv_{movie:07d}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "inside"),
    [("training_set.tar", "training_set"), ("training_set.tar.gz", "download/training_set"), ("training_set.tgz", ".")],
)
def test_a_tar_gives_what_its_folder_gives(tmp_path, prepare, read, name, inside):
    folder = training_set(tmp_path)
    assert prepare("netflix", folder)[0] == 0
    expected = read("netflix")
    assert prepare("netflix", pack_tar(tmp_path / name, folder, inside))[0] == 0
    assert read("netflix") == expected
    assert len(expected[1]) == len(ROWS)


def test_gzipped_members_of_a_zip_are_opened_too(tmp_path, prepare, read):
    folder = layouts.write_amazon_reviews(tmp_path / "raw", ROWS)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for file in folder.iterdir():
            packed.write(file, f"beauty/{file.name}")
    assert prepare("amazon-beauty", tmp_path / "all.zip")[0] == 0
    assert len(read("amazon-beauty")[1]) == len(ROWS)


@pytest.mark.parametrize(
    "name", ["../ratings.csv", "/ratings.csv", "a/../../ratings.csv", "..\\ratings.csv", "C:/ratings.csv"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_points_outside_the_archive_is_refused(tmp_path, prepare, name, kind):
    file = tmp_path / f"ml-32m.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr(zipfile.ZipInfo(name), "x")
    else:
        with tarfile.open(file, "w") as packed:
            packed.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    code, _, err = prepare("ml-32m", file)
    assert code == 1
    assert "points outside the archive" in err


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz", "zip of gz"])
def test_a_file_that_unpacks_to_far_more_is_refused_before_it_is_read_completely(tmp_path, prepare, monkeypatch, kind):
    monkeypatch.setattr(raw_files, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    bomb, size = b"1\t2\t3\t4\t5\n" * 100_000, 1_000_000
    times = 2
    file = tmp_path / {"zip": "x.zip", "tar.gz": "x.tar.gz", "gz": "LFM-1b_LEs.txt.gz", "zip of gz": "x.zip"}[kind]
    if kind == "zip of gz":
        # gzip of gzip: the file in the archive is far smaller than what comes out
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("LFM-1b_LEs.txt.gz", gzip.compress(bomb * times))
    elif kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("LFM-1b_LEs.txt", "w") as member:
            for _ in range(times):
                member.write(bomb)
    elif kind == "gz":
        with gzip.open(file, "wb") as member:
            for _ in range(times):
                member.write(bomb)
    else:
        with tarfile.open(file, "w:gz") as packed:
            info = tarfile.TarInfo("LFM-1b_LEs.txt")
            info.size = times * size
            packed.addfile(info, io.BytesIO(bomb * times))
    code, _, err = prepare("lfm-1b", file)
    assert code == 1
    assert "more than 200 times its compressed size" in err
    code, _, err = prepare("lfm-1b", file, "--max-ratio", 200_000)
    assert code == 1
    assert "column 5 does not look like time" in err


def test_a_small_gzip_bomb_is_refused_before_its_rows_are_parsed_but_the_damage_of_a_truncated_one_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(raw_files, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = tmp_path / "log.csv.gz"
    content = gzip.compress(bytes(4 << 20))
    path.write_bytes(content)
    (file,) = RawFiles(path).files
    with pytest.raises(PreparationError, match="--max-ratio"):
        file.open()
    path.write_bytes(content[:200] + b"\xff" * 4)
    (file,) = RawFiles(path).files
    with file.open() as stream, pytest.raises(EOFError):
        stream.read()


@pytest.mark.parametrize("given", ["ratings.csv", "."])
def test_a_pipe_is_refused_at_once(tmp_path, given):
    os.mkfifo(tmp_path / "ratings.csv")
    with pytest.raises(PreparationError, match=r"ratings\.csv is a pipe, device or broken link"):
        RawFiles(tmp_path / given)


def test_a_broken_link_in_a_folder_is_refused_but_a_hidden_one_is_left_out(tmp_path):
    (tmp_path / ".hidden.csv").symlink_to("nowhere")
    assert not RawFiles(tmp_path).files
    (tmp_path / "ratings.csv").symlink_to("nowhere")
    with pytest.raises(PreparationError, match=r"ratings\.csv is a pipe, device or broken link"):
        RawFiles(tmp_path)


def test_a_device_is_refused_at_once():
    with pytest.raises(PreparationError, match="/dev/zero is a pipe, device"):
        RawFiles(Path("/dev/zero"))


def test_a_truncated_gzip_stops_with_its_line_even_when_bad_rows_are_skipped(tmp_path, prepare):
    raw = layouts.write_amazon_reviews(tmp_path / "raw", layouts.walks())
    file = raw / "reviews_Beauty_5.json.gz"
    file.write_bytes(file.read_bytes()[:-200])
    code, _, err = prepare("amazon-beauty", raw, "--skip-bad")
    assert code == 1
    assert "reviews_Beauty_5.json.gz:1: the data after this line are truncated or damaged" in err


def test_a_damaged_file_in_a_zip_is_named(tmp_path, prepare):
    file = layouts.write_movielens_csv(tmp_path / "ml-25m.zip", layouts.walks())
    data = bytearray(file.read_bytes())
    data[200:220] = bytes(20)
    file.write_bytes(bytes(data))
    code, _, err = prepare("ml-25m", file)
    assert code == 1
    assert "ml-25m.zip/ml-25m/ratings.csv:" in err


def test_a_truncated_archive_is_refused(tmp_path, prepare):
    file = pack_tar(tmp_path / "training_set.tar.gz", training_set(tmp_path))
    file.write_bytes(file.read_bytes()[:-30])
    code, _, err = prepare("netflix", file)
    assert code == 1
    assert "the archive is truncated or damaged" in err


def test_several_paths_and_patterns_are_read_in_the_order_given_and_folders_by_path(tmp_path):
    for name in ("b.csv", "a.csv", "day/2.csv", "day/1.csv", "day/.hidden", "day/_SUCCESS", "_c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    raw = RawFiles(tmp_path / "b.csv", tmp_path / "day", tmp_path / "[a_]*.csv")
    assert [file.name for file in raw.files] == ["b.csv", "1.csv", "2.csv", "a.csv"]
    assert [file.name for file in raw.ignored] == [".hidden", "_SUCCESS", "_c.csv"]
    assert [file.name for file in RawFiles(tmp_path / "_c.csv").files] == ["_c.csv"]
    with pytest.raises(MissingFileError, match=r"no file matches .*x\*\.csv"):
        RawFiles(tmp_path / "x*.csv")


def test_the_same_name_in_two_folders_is_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ratings.csv").touch()
    with pytest.raises(PreparationError, match=r"several ratings\.csv: a/ratings\.csv, b/ratings\.csv"):
        RawFiles(tmp_path).find("ratings.csv")


def test_a_zip_whose_parts_contradict_each_other_is_named(tmp_path, prepare):
    archive = layouts.write_movielens_csv(tmp_path / "ml-20m.zip", layouts.walks(4, 4))
    content = archive.read_bytes()
    for damaged in (
        content.replace(b"ml-20m/ratings", b"ml_20m/ratings", 1),
        content.replace(b"PK\x03\x04", b"PK\x03\x05"),
    ):
        archive.write_bytes(damaged)
        code, _, error = prepare("ml-20m", archive)
        assert code == 1
        assert "the archive is truncated or damaged" in error
        assert len(error.splitlines()) == 1
