"""Reading in blocks and reading line by line are the same thing."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_prep import rows
from dataset_prep.amazon import RATINGS
from dataset_prep.archive import Raw
from dataset_prep.lfm1b import EVENTS
from dataset_prep.movielens import RATINGS_CSV, RATINGS_DAT
from dataset_prep.netflix import RATING
from dataset_prep.rows import BadRows
from dataset_prep.tmall import LAYOUTS

ALL = [EVENTS, RATINGS_CSV, RATINGS_DAT, RATING, RATINGS, *LAYOUTS.values()]
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
]
VALUES += [
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


@pytest.mark.parametrize("layout", ALL)
@given(data=st.data())
def test_a_block_means_what_its_lines_mean(layout, data):
    row = st.lists(st.sampled_from(VALUES), min_size=len(layout.fields) - 1, max_size=len(layout.fields) + 1)
    texts = data.draw(st.lists(row.map(layout.delimiter.join), max_size=4))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    block = "".join(text + ending for text in texts).encode(layout.encoding)
    fast = layout.parse_block(block)
    try:
        slow = layout.table([layout.parse_line(line) for line in rows.split_lines(block)])
    except ValueError:
        slow = None
    assert fast is None or fast.to_pylist() == slow.to_pylist()


@pytest.mark.parametrize("layout", ALL)
def test_ordinary_rows_take_the_fast_way(layout):
    ordinary = {"Date": "2005-02-28", "time": "20150228", "time_stamp": "0829", "user": "12", "asin": "12"}
    line = layout.delimiter.join(ordinary.get(name, "1") for name in layout.fields)
    if layout is EVENTS:
        line = line.replace("20150228", "1400000000")
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
        patch.setattr(rows, "BLOCK", size)
        blocks = list(rows.blocks(Raw(file).members[0]))
    assert b"".join(block for _, block in blocks) == file.read_bytes()
    assert all(block.endswith(b"\n") for _, block in blocks[:-1])
    lengths = [block.count(b"\n") for _, block in blocks]
    assert [first for first, _ in blocks] == [1 + before for before in itertools.accumulate([0, *lengths])][
        : len(blocks)
    ]


@pytest.mark.parametrize("bad_at", [1, 2, 500, 1000])
def test_the_number_of_a_bad_line_is_right_in_every_block(tmp_path, monkeypatch, bad_at):
    monkeypatch.setattr(rows, "BLOCK", 100)
    lines = ["1\t2\t3\t4\t5"] * 1000
    lines[bad_at - 1] = "1\t2\t3\t4"
    Path("LFM-1b_LEs.txt").write_text("\n".join(lines))
    member = Raw(Path("LFM-1b_LEs.txt")).members[0]
    with pytest.raises(ValueError, match=rf"LFM-1b_LEs.txt:{bad_at}: "):
        list(EVENTS.tables(member, BadRows()))
    bad = BadRows(skip=True)
    assert sum(len(table) for table in EVENTS.tables(member, bad)) == 999
    assert bad.count == 1
