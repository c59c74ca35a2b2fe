import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from recbole_echomamba.data.recorded_table import read_recorded_table
from recbole_echomamba.system.errors import UserError


def test_any_damage_to_a_table_without_a_manifest_is_one_line_that_names_it(tmp_path):
    file = tmp_path / "ranks.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"user": ["ä", "b", "ä"], "rank": [1, 2, 3]}), file)
    content = file.read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[draw.integers(len(damaged))] ^= 1 << draw.integers(8)
        file.write_bytes(damaged)
        try:
            read_recorded_table(file, ["user", "rank"], "restore it")
        except UserError as error:
            refused += 1
            assert str(file) in str(error)
            assert len(str(error).splitlines()) == 1
    assert refused > 30


@pytest.mark.parametrize("table", [{"user": ["a"]}, {"user": ["a", None], "rank": [1, 2]}])
def test_a_table_without_a_column_or_a_value_is_damaged(tmp_path, table):
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "ranks.parquet")
    with pytest.raises(
        UserError, match=r"ranks\.parquet is truncated or damaged \((no column rank|missing values in user)"
    ):
        read_recorded_table(tmp_path / "ranks.parquet", ["user", "rank"], "restore it")
