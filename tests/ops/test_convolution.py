import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import numba, reference
from tests.ops.numerics import DTYPES, REVERSE, TOLERANCE, assert_close, normal, results


@REVERSE
@DTYPES
@pytest.mark.parametrize("taps", [1, 4, 7])
def test_the_convolution_agrees_with_torch(taps, dtype, reverse):
    inputs = [normal(3, 5, 6), normal(6, 1, taps, seed=1), normal(6, seed=2)]
    walk = ops.Walk.over_all(3, 5, "cpu", reverse)
    expected = results(lambda *i: reference.conv_silu(*i, walk), inputs)
    assert_close(results(lambda *i: numba.conv_silu(*i, walk), inputs, dtype), expected, TOLERANCE[dtype])


@REVERSE
def test_slots_off_a_padded_walk_get_a_gradient_of_zero(reverse):
    inputs = [normal(4, 5, 6), normal(6, 1, 3, seed=1), normal(6, seed=2)]
    walk = ops.Walk(torch.tensor([0, 4, 2, 1]), 5, reverse)
    expected = results(lambda *i: reference.conv_silu(*i, walk)[1], inputs)
    assert_close(results(lambda *i: numba.conv_silu(*i, walk)[1], inputs), expected, 1e-12)
