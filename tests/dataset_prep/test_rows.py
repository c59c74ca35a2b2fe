"""Parsing blocks and parsing line by line give the same rows."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_prep import lines
from dataset_prep.amazon import RATINGS_2014, RATINGS_2018, RATINGS_2023
from dataset_prep.errors import PreparationError
from dataset_prep.fields import WHOLE_NUMBER
from dataset_prep.lfm1b import EVENTS
from dataset_prep.malformed import MalformedRows
from dataset_prep.movielens import RATINGS_CSV, RATINGS_DAT
from dataset_prep.netflix import RATINGS as NETFLIX_RATINGS
from dataset_prep.raw_files import RawFiles
from dataset_prep.tmall import LAYOUTS

ALL = [EVENTS, RATINGS_CSV, RATINGS_DAT, NETFLIX_RATINGS, RATINGS_2014, RATINGS_2018, *LAYOUTS.values()]
VALUES = [
    "0",
    "7",
    "007",
    "1",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "3.5",
    ".",
    "1.2.3",
    "2005-02-28",
    "2005-02-30",
    "20150228",
    "0829",
    "1131",
    "0x10",
    " 5",
    "-1",
    "+1",
    "1e3",
    "nan",
    "NA",
    "null",
    "",
    "A1B",
    "\xe9",
    '"a"',
]


def ordinary_texts(layout):
    """A text for each field that needs no parsing line by line."""
    dates = {"Date": "2005-02-28", "time_stamp": "0829"}
    if layout is LAYOUTS["ijcai16"]:
        dates["time"] = "20150228"
    return [dates.get(name, "1") for name in layout.fields]


@pytest.mark.parametrize("layout", [*ALL, RATINGS_2023])
@given(data=st.data())
def test_a_block_gives_the_rows_of_its_lines(layout, data):
    row = st.lists(st.sampled_from(VALUES), min_size=len(layout.fields) - 1, max_size=len(layout.fields) + 1)
    texts = data.draw(st.lists(row.map(layout.delimiter.join), max_size=4))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    block = "".join(text + ending for text in texts).encode(layout.encoding)
    fast = layout.parse_block(block)
    try:
        slow = layout.to_table([layout.parse_line(line) for line in lines.split_lines(block)])
    except ValueError:
        slow = None
    if fast is not None:
        assert slow is not None
        assert fast.to_pylist() == slow.to_pylist()


@pytest.mark.parametrize("layout", ALL)
@pytest.mark.parametrize("text", ["-1", "-0", "0x10", "0X1F", "1.0", "1e3", "A1", ""])
def test_a_field_that_is_no_whole_number_is_refused_in_a_block_too(layout, text):
    ordinary = ordinary_texts(layout)
    positions = [n for n, field_type in enumerate(layout.fields.values()) if field_type is WHOLE_NUMBER]
    assert positions
    for position in positions:
        texts = [*ordinary[:position], text, *ordinary[position + 1 :]]
        line = layout.delimiter.join(texts).encode()
        with pytest.raises(ValueError, match="not a whole number"):
            layout.parse_line(line)
        assert layout.parse_block(line + b"\n") is None


@pytest.mark.parametrize("layout", ALL)
def test_ordinary_rows_are_parsed_as_a_block(layout):
    line = layout.delimiter.join(ordinary_texts(layout))
    assert layout.parse_block((line + "\n").encode() * 3).num_rows == 3


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=20),
    st.integers(1, 30),
    st.booleans(),
)
def test_blocks_are_the_file_in_whole_lines_and_their_numbers_are_right(tmp_path_factory, found, size, ends):
    file = tmp_path_factory.mktemp("blocks") / "file"
    file.write_bytes(b"\n".join(found) + (b"\n" if ends else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataset_prep.lines.BLOCK_BYTES", size)
        blocks = list(lines.read_blocks(RawFiles(file).files[0]))
    assert b"".join(block for _, block in blocks) == file.read_bytes()
    assert all(block.endswith(b"\n") for _, block in blocks[:-1])
    lengths = [block.count(b"\n") for _, block in blocks]
    assert [first for first, _ in blocks] == [1 + before for before in itertools.accumulate([0, *lengths])][
        : len(blocks)
    ]


@pytest.mark.parametrize("bad_at", [1, 2, 500, 1000])
def test_the_number_of_a_bad_line_is_right_in_every_block(tmp_path, monkeypatch, bad_at):
    monkeypatch.setattr("dataset_prep.lines.BLOCK_BYTES", 100)
    lines = ["1\t2\t3\t4\t1400000000"] * 1000
    lines[bad_at - 1] = "1\t2\t3\t4"
    Path("LFM-1b_LEs.txt").write_text("\n".join(lines))
    file = RawFiles(Path("LFM-1b_LEs.txt")).files[0]
    with pytest.raises(PreparationError, match=rf"LFM-1b_LEs.txt:{bad_at}: expected user"):
        list(EVENTS.read_tables(file, MalformedRows()))
    malformed = MalformedRows(skip=True)
    assert sum(len(table) for table in EVENTS.read_tables(file, malformed)) == 999
    assert malformed.count == 1
