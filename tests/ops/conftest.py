import pytest
import torch


@pytest.fixture(autouse=True)
def nan_in_fresh_memory():
    """Fill uninitialised memory with NaN, so that a test fails when a kernel leaves an entry of its output unwritten.

    In its deterministic mode, torch does so itself for `torch.empty`, `torch.empty_like` and `Tensor.new_empty`, on every
    device. Scratch rows inside Numba kernels do not come from torch and are not filled.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
