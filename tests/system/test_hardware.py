import subprocess
import sys

import torch

from recbole_echomamba.system.hardware import describe_machine, list_versions

GROW = """
import numpy
from recbole_echomamba.system.hardware import measure_peak_process_memory
before = measure_peak_process_memory()
del_me = numpy.ones(200 * 2**20, numpy.uint8)
del del_me
print((measure_peak_process_memory() - before) / 2**20)
"""


def test_the_peak_of_memory_counts_what_has_been_freed():
    grown = float(subprocess.check_output([sys.executable, "-c", GROW], text=True))
    assert 150 < grown < 250


def test_a_machine_without_a_gpu_names_none():
    machine = describe_machine(torch.device("cpu"))
    assert set(machine) == {"processor", "system", "threads"}
    assert machine["processor"]
    assert machine["threads"] == torch.get_num_threads()


def test_versions_name_installed_packages_only():
    versions = list_versions()
    assert {"python", "recbole", "torch", "numpy"} <= set(versions)
    assert all(versions.values())
