"""The operations of exported programs are those of the reference."""

import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import reference, traceable
from tests.ops.numerics import DTYPES, REVERSE, TOLERANCE, assert_close, normal, results, scan_inputs, scan_results

CHUNKS = [(3, 7, 5, 3), (1, 1, 1, 1), (2, 8, 4, 2), (2, 9, 4, 2), (3, 50, 16, 4), (2, 200, 32, 8)]


@DTYPES
@REVERSE
@pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
@pytest.mark.parametrize("shape", CHUNKS, ids=[f"L{shape[1]}" for shape in CHUNKS])
def test_a_scan_in_chunks_agrees_with_the_float64_reference(shape, at, reverse, dtype):
    given = scan_inputs(shape)
    expected = scan_results(reference, given, at, reverse, torch.float64)
    assert_close(scan_results(traceable, given, at, reverse, dtype), expected, TOLERANCE[dtype])


@pytest.mark.parametrize(("delta", "decay"), [(0.01, 32.0), (20.0, 100.0)])
def test_a_scan_in_chunks_stays_exact_over_long_sequences_and_large_steps(delta, decay):
    given = scan_inputs((2, 800, 8, 4), delta=delta, decay=decay)
    expected = scan_results(reference, given, False, False, torch.float64)
    assert_close(scan_results(traceable, given, False, False, torch.float32), expected, 2e-6)


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_matrix_products_give_the_spectral_filter(length):
    inputs = [normal(3, length, 4), normal(length // 2 + 1, 4, 2, seed=1)]
    found = results(lambda x, w: traceable.convolve(x, traceable.kernel_of(w, length), period=length), inputs)
    assert_close(found, results(ops.spectral_filter, inputs), 1e-12)


@pytest.mark.parametrize(("length", "slots"), [(1, 1), (8, 8), (8, 5), (9, 9), (9, 2)])
def test_matrix_products_give_the_causal_filter(length, slots):
    inputs = [normal(3, slots, 4), normal(length // 2 + 1, 4, 2, seed=1)]
    found = results(
        lambda x, w: traceable.convolve(x, traceable.kernel_of(w, length)[:slots], period=2 * slots), inputs
    )
    assert_close(found, results(lambda x, w: ops.causal_spectral_filter(x, w, length), inputs), 1e-12)
