import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from recbole_echomamba.__main__ import main
from recbole_echomamba.comparison import processes
from recbole_echomamba.comparison.processes import run_in_subprocess
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.comparison.conftest import read_results
from tests.conftest import SMALL


def test_each_run_has_its_own_process(data_path, tmp_path, monkeypatch):
    # The new process imports the module again, so that only a run in this process would find the replacement.
    monkeypatch.setattr(processes, "run", None)
    settings = [f"--{key}={value}" for key, value in {**SMALL, "epochs": 1, "data_path": data_path}.items()]
    out = tmp_path / "out"
    assert main(["compare", "--models=Mamba4Rec", "--dataset=cycle", f"--out={out}", *settings]) == 0
    (result,) = read_results(out)
    assert result["peak_memory"] > 100e6  # torch alone is larger
    assert "Significance" not in (out / "report.html").read_text()  # a single row has no baseline


def test_an_error_that_the_user_can_mend_keeps_its_class_and_message(data_path):
    settings = {**SMALL, "data_path": str(data_path)}
    with pytest.raises(MissingFileError, match=r"nowhere\.inter"):
        run_in_subprocess("a run", model="Mamba4Rec", dataset="nowhere", config_dict=settings)


def test_a_killed_process_is_named():
    def kill_child():
        while not multiprocessing.active_children():
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_child)
    killer.start()
    with pytest.raises(UserError, match="SASRec, seed 3: its process was killed"):
        run_in_subprocess("SASRec, seed 3", model="SASRec", dataset="cycle")
    killer.join()


@pytest.mark.parametrize(
    ("group", "number"),
    [(True, signal.SIGINT), (False, signal.SIGINT), (True, signal.SIGTERM), (False, signal.SIGTERM)],
)
def test_a_signal_ends_the_run_in_its_process_too_and_says_how_to_go_on(data_path, tmp_path, group, number):
    settings = {**SMALL, "epochs": 10_000, "stopping_step": 10_000, "data_path": data_path}
    command = [sys.executable, "-m", "recbole_echomamba", "compare", "--models=Mamba4Rec", "--dataset=cycle"]
    command += [f"--out={tmp_path / 'out'}", *(f"--{key}={value}" for key, value in settings.items())]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob("out/runs/*/model.safetensors")):
        assert process.poll() is None
        time.sleep(0.1)
    # A terminal signals the whole group, kill -INT only the process.
    send_signal = os.killpg if group else os.kill
    send_signal(process.pid, number)
    # The pipes close only when the run, too, has ended.
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    # Python's tracker of semaphores may warn after it, when the run's process has died before it could clean up.
    assert any(line.startswith("interrupted; give the same command again") for line in errors.splitlines())
    assert "Traceback" not in errors
