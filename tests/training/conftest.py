import functools
import shutil
from pathlib import Path

import pytest

from recbole_echomamba import run
from tests.conftest import SMALL


@pytest.fixture(scope="package")
def uninterrupted(data_path, tmp_path_factory):
    """``uninterrupted(model, epochs)``: the result of a run that is made once; tests change only copies of its directory."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    @functools.cache
    def result(model="Mamba4Rec", epochs=1):
        settings = {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(folder / "saved"), "epochs": epochs}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            return run(model, "cycle", config_dict=settings)

    return result


@pytest.fixture
def run_directory(uninterrupted, tmp_path):
    """A copy of the directory of a finished run of one epoch."""
    return Path(shutil.copytree(uninterrupted()["run_directory"], tmp_path / "run"))
