import importlib
import json
import shutil
from pathlib import Path

import pytest

from recbole_echomamba import run
from recbole_echomamba.__main__ import main
from tests.conftest import SMALL

compare_module = importlib.import_module("recbole_echomamba.comparison.compare")

ROWS = ["Mamba4Rec", "SASRec", "Mamba4Rec (wide)"]


def make_command(data_path, out, *more):
    """The arguments of a comparison with the rows ``ROWS`` and the seeds 1 and 2."""
    settings = {**SMALL, "data_path": data_path, "n_heads": 2}
    command = ["compare", "--models=Mamba4Rec,SASRec", "--dataset=cycle", "--seeds=1,2"]
    command += ["--variant=wide:hidden_size=24", "--latex", f"--out={out}"]
    return command + [f"--{key}={value}" for key, value in settings.items()] + list(more)


def read_results(out):
    return [json.loads(file.read_text()) for file in (out / "runs").glob("*/result.json")]


def find_run(out, name):
    """The only run directory whose name starts with ``name``."""
    (directory,) = (out / "runs").glob(f"{name}-*")
    return directory


@pytest.fixture
def started(monkeypatch):
    """Run in this process, which is faster; return the names of the runs and how each was started, as they start."""
    runs = []

    def run_here(name, **arguments):
        runs.append((name, "resumed" if "resume" in arguments else "new"))
        run(**arguments)

    monkeypatch.setattr(compare_module, "run_in_subprocess", run_here)
    return runs


@pytest.fixture(scope="session")
def finished(data_path, tmp_path_factory):
    """The folder of a finished comparison. Tests only read it."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(compare_module, "run_in_subprocess", lambda name, **arguments: run(**arguments))
        assert main(make_command(data_path, folder / "out")) == 0
    return folder / "out"


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the finished comparison that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))
