import pytest
import torch

from recbole_echomamba.ops import numba, reference
from tests.ops.numerics import DTYPES, TOLERANCE, assert_close, normal, results


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 4, 128), (500, 3, 20)], ids=str)
def test_step_sizes_agree_with_torch(shape, dtype):
    tokens, rank, channels = shape
    inputs = [normal(tokens, rank), normal(channels, rank, seed=1), 3 * normal(channels, seed=2)]
    expected = results(reference.step_sizes, inputs)
    assert_close(results(numba.step_sizes, inputs, dtype), expected, TOLERANCE[dtype])


def test_step_sizes_stay_positive_and_finite_at_the_ends():
    ends = torch.tensor([-50.0, -20.0, 0.0, 20.0, 100.0, 1e30])
    found = numba.step_sizes(ends[:, None], torch.ones(1, 1), torch.zeros(1))
    expected = torch.nn.functional.softplus(ends.double())[:, None]
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=0)
