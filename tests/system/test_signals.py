import subprocess
import sys

PARENT = """
import multiprocessing, time
from recbole_echomamba.system.signals import end_with_parent

def child():
    end_with_parent()
    print("begun", flush=True)
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
    assert parent.stdout.readline() == "begun\n"
    parent.kill()
    left, _ = parent.communicate()  # returns when the child, too, has let go of the pipe
    assert left == ""
