import re

import numpy as np
import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import numba, reference
from tests.ops.numerics import DTYPES, REVERSE, TOLERANCE, assert_close, scan_inputs, scan_results

AT = pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
SHAPES = [(3, 7, 5, 3), (1, 1, 1, 1), (40, 50, 16, 4), (5, 200, 128, 32), (2, 300, 16, 8), (2, 17, 33, 2)]
IDS = [f"B{b}-L{length}-D{d}-N{n}" for b, length, d, n in SHAPES]


def definition(given, reverse):
    """Compute the recurrence as the paper writes it, one number at a time."""
    x, delta, A, B, C, D = (given[name].numpy() for name in ("x", "delta", "A", "B", "C", "D"))
    y = np.zeros_like(x)
    batch, length, channels = x.shape
    for b in range(batch):
        for d in range(channels):
            h = np.zeros(A.shape[1])
            for t in reversed(range(length)) if reverse else range(length):
                h = np.exp(delta[b, t, d] * A[d]) * h + delta[b, t, d] * B[b, t] * x[b, t, d]
                y[b, t, d] = h @ C[b, t] + D[d] * x[b, t, d]
    return torch.from_numpy(y)


@REVERSE
def test_the_reference_is_the_recurrence_of_the_paper(reverse):
    given = scan_inputs((3, 6, 4, 3))
    inputs = [given[name] for name in ("x", "delta", "A", "B", "C", "D")]
    expected = definition(given, reverse)
    torch.testing.assert_close(reference.selective_scan(*inputs, reverse), expected, rtol=1e-13, atol=1e-13)
    rows = torch.arange(3)
    given["C_at"] = given["C"][rows, given["position"]]
    inputs[4] = given["C_at"]
    at = reference.scan_at(*inputs, ops.Walk(given["position"], 6, reverse))
    torch.testing.assert_close(at, expected[rows, given["position"]], rtol=1e-13, atol=1e-13)


@AT
def test_the_gradients_of_the_reference_are_those_of_finite_differences(at):
    given = scan_inputs((2, 4, 2, 2))
    names = ["x", "delta", "A", "B", "C_at" if at else "C", "D"]
    inputs = [given[name].requires_grad_() for name in names]
    walk = ops.Walk(given["position"], 4, True)
    scan = (lambda *i: reference.scan_at(*i, walk)) if at else (lambda *i: reference.selective_scan(*i, True))
    assert torch.autograd.gradcheck(scan, inputs)


@DTYPES
@REVERSE
@AT
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_numba_agrees_with_the_float64_reference(shape, at, reverse, dtype):
    given = scan_inputs(shape)
    expected = scan_results(reference, given, at, reverse, torch.float64)
    assert_close(scan_results(numba, given, at, reverse, dtype), expected, TOLERANCE[dtype])


@pytest.mark.parametrize(("delta", "decay"), [(0.01, 32.0), (0.7, 32.0), (20.0, 100.0)])
@AT
def test_numba_stays_exact_over_long_sequences_and_large_steps(at, delta, decay):
    given = scan_inputs((2, 3200, 8, 4), delta=delta, decay=decay)
    expected = scan_results(reference, given, at, False, torch.float64)
    assert_close(scan_results(numba, given, at, False, torch.float32), expected, 2e-6)


@pytest.mark.parametrize("backend", [reference, numba], ids=["reference", "numba"])
def test_slots_beyond_the_position_are_never_read(backend):
    given = scan_inputs((4, 9, 5, 3))
    slots = torch.arange(9)
    for reverse in (False, True):
        position = given["position"][:, None]
        unread = (slots < position) if reverse else (slots > position)
        spoilt = {**given, "B": given["B"].clone(), "delta": given["delta"].clone()}
        spoilt["B"][unread] = 1e6
        spoilt["delta"][unread] = 1e3
        before = scan_results(backend, given, True, reverse, torch.float64)["y"]
        torch.testing.assert_close(scan_results(backend, spoilt, True, reverse, torch.float64)["y"], before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32_and_come_back_as_they_went_in(dtype):
    given = scan_inputs((3, 40, 8, 4))
    given = {k: v if k == "position" else v.to(dtype).double() for k, v in given.items()}
    expected = scan_results(reference, given, True, False, torch.float64)
    found = scan_results(numba, given, True, False, dtype)
    assert found["y"].dtype == dtype
    assert_close(found, expected, 2e-2)


def test_nan_is_passed_on_rather_than_hidden():
    given = scan_inputs((2, 5, 3, 2))
    given["x"][0, 0, 0] = float("nan")
    given["position"][:] = 4
    with torch.no_grad():
        inputs = [given[name].float() for name in ("x", "delta", "A", "B", "C_at", "D")]
        y = numba.scan_at(*inputs, ops.Walk(given["position"], 5))
    assert torch.isnan(y[0, 0])
    assert not torch.isnan(y[1]).any()


@pytest.mark.parametrize(
    ("name", "size"),
    [("delta", (2, 5, 3)), ("A", (4, 2)), ("B", (3, 2, 2)), ("C", (3, 5, 1)), ("C_at", (3, 3)), ("D", (4,))],
)
def test_a_tensor_whose_shape_does_not_fit_is_refused_by_name(name, size):
    given = {**scan_inputs((3, 5, 3, 2)), name: torch.zeros(size)}
    with pytest.raises(ValueError, match=rf"^{name} has shape {re.escape(str(list(size)))}"):
        if name == "C_at":
            ops.selective_scan_at(*(given[key] for key in ("x", "delta", "A", "B", "C_at", "D", "position")))
        else:
            ops.selective_scan(*(given[key] for key in ("x", "delta", "A", "B", "C", "D")))


@pytest.mark.parametrize("position", [-1, 5])
def test_positions_outside_a_row_are_refused(position):
    given = scan_inputs((3, 5, 3, 2))
    inputs = [given[key] for key in ("x", "delta", "A", "B", "C_at", "D")]
    with pytest.raises(ValueError, match=r"positions must lie in 0\.\.4"):
        ops.selective_scan_at(*inputs, torch.tensor([0, position, 1]))


def test_a_second_derivative_is_refused_rather_than_wrong():
    given = scan_inputs((2, 4, 3, 2))
    x = given["x"].requires_grad_()
    y = ops.selective_scan(x, *(given[key] for key in ("delta", "A", "B", "C", "D")))
    (gradient,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
