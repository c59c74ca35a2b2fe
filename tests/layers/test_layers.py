import math

import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.layers import Mamba, at_position
from recbole_echomamba.models.echomamba4rec import BidirectionalMamba, GatedLinearUnit, SpectralFilter


@pytest.mark.parametrize("forced", ["reference", "numba"])
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_mamba_at_one_position_is_mamba_over_all_read_there(forced, reverse, monkeypatch):
    monkeypatch.setenv("ECHOMAMBA_SCAN", forced)
    torch.manual_seed(0)
    layer = Mamba(12, d_state=4).double()
    hidden_states = torch.randn(7, 9, 12, dtype=torch.float64)
    position = torch.tensor([0, 8, 3, 1, 7, 4, 4])

    def output_and_gradients(read):
        leaf = hidden_states.clone().requires_grad_()
        out = read(leaf)
        return [out, *torch.autograd.grad(out.square().sum(), [leaf, *layer.parameters()])]

    at = output_and_gradients(lambda h: layer.forward_at(h, position, reverse))
    full = output_and_gradients(lambda h: at_position(layer(h, reverse), position))
    for found, expected in zip(at, full, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_reversed_mamba_is_a_mamba_on_the_flipped_sequence():
    torch.manual_seed(0)
    layer = Mamba(8, d_state=4).double()
    hidden_states = torch.randn(3, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(hidden_states, reverse=True), layer(hidden_states.flip(1)).flip(1))


def test_mamba_is_causal():
    layer = Mamba(8, d_state=4)
    hidden_states = torch.randn(2, 10, 8)
    changed = hidden_states.clone()
    changed[:, 6:] += 1
    before, after = layer(hidden_states), layer(changed)
    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert not torch.allclose(after[:, 6:], before[:, 6:])


def test_mamba_on_tokens_alone_is_mamba_on_sequences_of_one():
    torch.manual_seed(0)
    layer = Mamba(8, d_state=4).double()
    hidden_states = torch.randn(3, 5, 8, dtype=torch.float64)
    expected = layer(hidden_states.view(15, 1, 8)).view(3, 5, 8)
    torch.testing.assert_close(layer.forward_alone(hidden_states), expected, rtol=1e-12, atol=1e-14)


def test_mamba_has_the_parameters_of_mamba_ssm():
    names = {
        "A_log": (128, 32),
        "D": (128,),
        "in_proj.weight": (256, 64),
        "conv1d.weight": (128, 1, 4),
        "conv1d.bias": (128,),
        "x_proj.weight": (4 + 64, 128),
        "dt_proj.weight": (128, 4),
        "dt_proj.bias": (128,),
        "out_proj.weight": (64, 128),
    }
    assert {name: tuple(p.shape) for name, p in Mamba(64, d_state=32).named_parameters()} == names


def test_delta_starts_between_a_thousandth_and_a_tenth():
    delta = torch.nn.functional.softplus(Mamba(64).dt_proj.bias)
    assert 0.999e-3 <= delta.min() < 3e-3
    assert 3e-2 < delta.max() <= 0.1001


def test_mamba_runs_under_autocast():
    layer = Mamba(16, d_state=4)
    hidden_states = torch.randn(2, 9, 16)
    position = torch.tensor([8, 3])
    with torch.autocast("cpu", torch.bfloat16):
        found = layer.forward_at(hidden_states, position)
        found.float().sum().backward()
    expected = layer.forward_at(hidden_states, position)
    assert (found.float() - expected).abs().max() < 5e-2 * expected.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_the_bidirectional_pair_is_two_normed_residual_branches():
    torch.manual_seed(0)
    pair = BidirectionalMamba(8, d_state=4).double()
    h = torch.randn(2, 5, 8, dtype=torch.float64)
    behind = pair.backward_mamba(h.flip(1)).flip(1)
    expected = pair.forward_norm(pair.forward_mamba(h) + h) + pair.backward_norm(behind + h)
    torch.testing.assert_close(pair(h), expected)


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_the_filter_is_a_circular_convolution_with_the_weight_as_its_transfer_function(length):
    torch.manual_seed(0)
    layer = SpectralFilter(3, length).double()
    signal = torch.randn(2, length, 3, dtype=torch.float64)
    transfer = torch.view_as_complex(layer.weight.detach())
    expected = torch.zeros_like(signal)
    for t in range(length):
        for u in range(length):
            # the inverse transform of a real signal's half spectrum counts every inner frequency twice
            kernel = torch.zeros(3, dtype=torch.float64)
            for k in range(length // 2 + 1):
                alone = k == 0 or 2 * k == length
                w = transfer[k].real + 0j if alone else transfer[k]
                turn = complex(
                    math.cos(2 * math.pi * k * (t - u) / length), math.sin(2 * math.pi * k * (t - u) / length)
                )
                kernel += (w * turn).real * (1 if alone else 2) / length
            expected[:, t] += kernel * signal[:, u]
    torch.testing.assert_close(ops.spectral_filter(signal, layer.weight), expected)


def test_the_filter_refuses_another_length():
    with pytest.raises(ValueError, match="built for 8 slots, the input has 9"):
        SpectralFilter(4, 8)(torch.zeros(1, 9, 4))


def test_the_gated_linear_unit_gates_by_a_sigmoid_and_normalises_the_residual():
    torch.manual_seed(0)
    unit = GatedLinearUnit(4).double()
    h = torch.randn(3, 4, dtype=torch.float64)
    inner = h @ unit.fc1.weight.T + unit.fc1.bias
    residual = h + (inner[:, :4] / (1 + torch.exp(-inner[:, 4:]))) @ unit.fc2.weight.T + unit.fc2.bias
    expected = (residual - residual.mean(1, keepdim=True)) / residual.var(1, keepdim=True, unbiased=False).sqrt()
    torch.testing.assert_close(unit(h), expected)


@pytest.mark.parametrize("dropout_residual", [True, False])
def test_dropout_of_the_gated_linear_unit_covers_the_residual_where_asked_for(dropout_residual):
    unit = GatedLinearUnit(4, dropout=1 - 1e-9, dropout_residual=dropout_residual).double()
    h = torch.randn(3, 4, dtype=torch.float64)
    normalised = (h - h.mean(1, keepdim=True)) / h.var(1, keepdim=True, unbiased=False).sqrt()
    torch.testing.assert_close(unit(h), 0 * h if dropout_residual else normalised)
