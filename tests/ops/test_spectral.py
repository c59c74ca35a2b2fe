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


@pytest.mark.parametrize(("length", "slots"), [(1, 1), (8, 8), (8, 5), (9, 9), (9, 2), (40, 29)])
def test_the_causal_filter_sums_the_slots_before_each_by_the_filters_kernel(length, slots):
    inputs = [normal(3, slots, 4), normal(length // 2 + 1, 4, 2, seed=1)]

    def plain(x, weight):
        kernel = torch.fft.irfft(torch.view_as_complex(weight), n=length, dim=0)
        return torch.stack([sum(kernel[s] * x[:, t - s] for s in range(t + 1)) for t in range(slots)], dim=1)

    found = results(lambda x, weight: ops.causal_spectral_filter(x, weight, length), inputs)
    assert_close(found, results(plain, inputs), 1e-12)


def test_at_the_last_item_of_a_padded_history_the_causal_filter_is_the_circular_one():
    x, weight = normal(1, 8, 4), normal(5, 4, 2, seed=1)
    x[:, 6:] = 0
    circular, causal = ops.spectral_filter(x, weight), ops.causal_spectral_filter(x, weight, 8)
    torch.testing.assert_close(causal[:, 5], circular[:, 5])
    assert not torch.allclose(causal[:, 2], circular[:, 2])
