import json
import os
import signal
import subprocess
import sys
import time

import pytest

from recbole_echomamba.__main__ import main
from tests.conftest import SMALL


def test_each_run_has_a_process_of_its_own(data_path, tmp_path):
    settings = [f"--{key}={value}" for key, value in {**SMALL, "epochs": 1, "data_path": data_path}.items()]
    assert main(["compare", "--models=Mamba4Rec", "--dataset=cycle", f"--out={tmp_path / 'out'}", *settings]) == 0
    (file,) = (tmp_path / "out" / "runs").glob("*/result.json")
    result = json.loads(file.read_text())
    assert result["peak_memory"] > 100e6  # torch alone is larger
    assert "Significance" not in (tmp_path / "out" / "report.html").read_text()  # nothing to test against


@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_ends_the_run_in_its_process_too(data_path, tmp_path, group):
    settings = {**SMALL, "epochs": 10_000, "stopping_step": 10_000, "data_path": data_path}
    command = [sys.executable, "-m", "recbole_echomamba", "compare", "--models=Mamba4Rec", "--dataset=cycle"]
    command += [f"--out={tmp_path / 'out'}", *(f"--{key}={value}" for key, value in settings.items())]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob("out/runs/*/model.safetensors")):
        assert process.poll() is None
        time.sleep(0.1)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)  # from a terminal, or from kill -INT
    _, errors = process.communicate(timeout=120)  # returns when the run, too, has let go of the pipes
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("interrupted; give the same command again")
    assert "Traceback" not in errors
