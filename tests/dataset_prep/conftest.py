import csv
from pathlib import Path

import pytest

from dataset_prep.__main__ import main


@pytest.fixture
def prepare(capsys):
    """``prepare(name, raw, *options)``: prepare into ``out``; return exit code, standard output and standard error."""

    def run(name, raw, *options):
        code = main([name, "--raw", str(raw), "--out", "out", *map(str, options)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def read():
    """``read(name, part)``: the header and the rows of text of a prepared file."""

    def rows(name, part="inter"):
        with open(Path("out") / name / f"{name}.{part}", newline="", encoding="utf-8") as file:
            header, *found = csv.reader(file, delimiter="\t")
        return header, found

    return rows
