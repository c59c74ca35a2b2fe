import pytest
import torch
import torch.nn.functional as F

from recbole_echomamba.ops import numba, reference
from tests.ops.numerics import assert_close, normal, results

POSITION = torch.tensor([0, 8, 3, 3, 7, 1])
TOKENS = normal(6, 9, 5)
DIRECTIONS = pytest.mark.parametrize("directions", [(False,), (True,), (False, True)], ids=["ahead", "reverse", "both"])


@DIRECTIONS
@pytest.mark.parametrize("read_at", [True, False], ids=["at and walks", "walks"])
def test_packed_walks_give_what_padded_ones_give(directions, read_at):
    sizes = [(5, 1, 4), (5,), (5, 2), (5,), (5, 3), (6, 3), (3, 5), (5,)]
    inputs = [TOKENS, *(normal(*size, seed=seed) for seed, size in enumerate(sizes, 1))]

    def through(backend):
        def compute(tokens, taps, tap_bias, dt_weight, dt_bias, A_log, C, B_weight, D):
            at, walks = backend.walks_from(tokens, POSITION, directions)
            outputs = [at] if read_at else []
            for walked, walk in walks:
                x, x_at = backend.conv_silu(walked, taps, tap_bias, walk)
                delta = backend.step_sizes(x[..., :2], dt_weight, dt_bias)
                B = F.linear(x, B_weight)
                outputs += [x_at, backend.scan_at(x, delta, -torch.exp(A_log), B, C, D, walk)]
            return outputs

        return compute

    assert_close(results(through(numba), inputs), results(through(reference), inputs), 1e-12)


@DIRECTIONS
def test_tokens_at_the_positions_alone_have_the_gradient_of_padded_ones(directions):
    def through(backend):
        return lambda tokens: backend.walks_from(tokens, POSITION, directions)[0]

    assert_close(results(through(numba), [TOKENS]), results(through(reference), [TOKENS]), 1e-12)
