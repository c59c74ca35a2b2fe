import os
import signal
import subprocess
import sys

import pytest

from recbole_echomamba.system.signals import children_ignore_sigint, deferred_signals

PARENT = """
import multiprocessing, time
from recbole_echomamba.system.signals import end_with_parent

def child():
    end_with_parent()
    print("started", flush=True)
    time.sleep(100)
    print("outlived", flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


def test_a_process_ends_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    # the pipe closes when the child has ended, too
    left, _ = parent.communicate()
    assert left == ""


def test_a_child_ignores_ctrl_c_and_its_parent_does_not():
    code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    before = signal.getsignal(signal.SIGINT)
    with children_ignore_sigint():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert signal.getsignal(signal.SIGINT) is before
    assert child.communicate()[0] == "True\n"


def test_a_second_signal_has_its_usual_effect():
    with pytest.raises(KeyboardInterrupt), deferred_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was ignored")


def test_a_process_that_was_started_to_ignore_a_signal_still_ignores_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_signals() as received:
            os.kill(os.getpid(), signal.SIGINT)
            assert not received()
    finally:
        signal.signal(signal.SIGINT, before)
