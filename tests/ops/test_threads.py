import os
import subprocess
import sys

import pytest
import torch

from recbole_echomamba.ops import numba
from tests.ops.numerics import scan_inputs, scan_results


def test_the_number_of_threads_does_not_change_a_result():
    given = scan_inputs((70, 20, 8, 4))
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(scan_results(numba, given, True, False, torch.float32))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(other[name], found[0][name]) for name in other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_too():
    code = """
import os, torch
from recbole_echomamba.ops import numba
torch.set_num_threads(3)
inputs = torch.randn(90, 2), torch.randn(8, 2), torch.randn(8)
expected = numba.step_sizes(*inputs)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(numba.step_sizes(*inputs), expected) else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
