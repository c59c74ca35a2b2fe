import pytest
import torch

from recbole_echomamba import ops
from tests.ops.numerics import assert_close, normal, results


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_the_gradients_of_the_spectral_filter_are_those_of_autograd(length):
    inputs = [normal(3, length, 4), normal(length // 2 + 1, 4, 2, seed=1)]

    def plain(x, weight):
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(weight)
        return torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")

    assert_close(results(ops.spectral_filter, inputs), results(plain, inputs), 1e-12)
