import numpy as np
import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import numba, reference

SHAPES = [(3, 7, 5, 3), (1, 1, 1, 1), (40, 50, 16, 4), (5, 200, 128, 32), (2, 300, 16, 8), (2, 17, 33, 2)]
IDS = [f"B{b}-L{length}-D{d}-N{n}" for b, length, d, n in SHAPES]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def problem(shape, seed=0, delta=1.0, decay=5.0):
    """Float64 inputs ``x, delta, A, B, C, C_at, D, position`` whose values float32 can hold."""
    batch, length, channels, states = shape
    draw = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=draw)

    def uniform(*size):
        return torch.rand(*size, generator=draw)

    given = {
        "x": normal(batch, length, channels),
        "delta": delta * uniform(batch, length, channels),
        "A": -decay * uniform(channels, states) - 1e-3,
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "C_at": normal(batch, states),
        "D": normal(channels),
        "position": torch.randint(0, length, (batch,), generator=draw),
    }
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in given.items()}


def compute(backend, given, at, reverse, dtype):
    """The output and the gradient of every input, in the order x, delta, A, B, C, D."""
    names = ["x", "delta", "A", "B", "C_at" if at else "C", "D"]
    inputs = [given[name].detach().to(dtype).requires_grad_() for name in names]
    if at:
        y = backend.scan_at(*inputs, ops.Walk(given["position"], given["x"].shape[1], reverse))
    else:
        y = backend.selective_scan(*inputs, reverse)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (y * weight.to(dtype)).sum().backward()
    return dict(zip(["y", *names], [y.detach(), *(i.grad for i in inputs)], strict=True))


def assert_close(found, expected, tolerance):
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1e-30)
        error = float((found[name].double() - value).abs().max() / scale)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def definition(given, reverse):
    """The recurrence as the paper writes it, one number at a time."""
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


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_the_reference_is_the_recurrence_of_the_paper(reverse):
    given = problem((3, 6, 4, 3))
    inputs = [given[name] for name in ("x", "delta", "A", "B", "C", "D")]
    expected = definition(given, reverse)
    torch.testing.assert_close(reference.selective_scan(*inputs, reverse), expected, rtol=1e-13, atol=1e-13)
    rows = torch.arange(3)
    given["C_at"] = given["C"][rows, given["position"]]
    inputs[4] = given["C_at"]
    at = reference.scan_at(*inputs, ops.Walk(given["position"], 6, reverse))
    torch.testing.assert_close(at, expected[rows, given["position"]], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
def test_the_gradients_of_the_reference_are_those_of_finite_differences(at):
    given = problem((2, 4, 2, 2))
    names = ["x", "delta", "A", "B", "C_at" if at else "C", "D"]
    inputs = [given[name].requires_grad_() for name in names]
    walk = ops.Walk(given["position"], 4, True)
    scan = (lambda *i: reference.scan_at(*i, walk)) if at else (lambda *i: reference.selective_scan(*i, True))
    assert torch.autograd.gradcheck(scan, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_numba_agrees_with_the_float64_reference(shape, at, reverse, dtype):
    given = problem(shape)
    expected = compute(reference, given, at, reverse, torch.float64)
    assert_close(compute(numba, given, at, reverse, dtype), expected, TOLERANCE[dtype])


@pytest.mark.parametrize(("delta", "decay"), [(0.01, 32.0), (0.7, 32.0), (20.0, 100.0)])
@pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
def test_numba_stays_exact_over_long_sequences_and_large_steps(at, delta, decay):
    given = problem((2, 3200, 8, 4), delta=delta, decay=decay)
    expected = compute(reference, given, at, False, torch.float64)
    assert_close(compute(numba, given, at, False, torch.float32), expected, 2e-6)


@pytest.mark.parametrize("backend", [reference, numba], ids=["reference", "numba"])
def test_slots_beyond_the_position_are_never_read(backend):
    given = problem((4, 9, 5, 3))
    slots = torch.arange(9)
    for reverse in (False, True):
        position = given["position"][:, None]
        unread = (slots < position) if reverse else (slots > position)
        spoilt = {**given, "B": given["B"].clone(), "delta": given["delta"].clone()}
        spoilt["B"][unread] = 1e6
        spoilt["delta"][unread] = 1e3
        before = compute(backend, given, True, reverse, torch.float64)["y"]
        torch.testing.assert_close(compute(backend, spoilt, True, reverse, torch.float64)["y"], before)


def test_the_number_of_threads_does_not_change_a_result():
    given = problem((70, 20, 8, 4))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(compute(numba, given, True, False, torch.float32))
        for other in results[1:]:
            assert all(torch.equal(other[name], results[0][name]) for name in other)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32_and_come_back_as_they_went_in(dtype):
    given = problem((3, 40, 8, 4))
    given = {k: v if k == "position" else v.to(dtype).double() for k, v in given.items()}
    expected = compute(reference, given, True, False, torch.float64)
    found = compute(numba, given, True, False, dtype)
    assert found["y"].dtype == dtype
    assert_close(found, expected, 2e-2)


def test_nan_is_passed_on_rather_than_hidden():
    given = problem((2, 5, 3, 2))
    given["x"][0, 0, 0] = float("nan")
    given["position"][:] = 4
    with torch.no_grad():
        inputs = [given[name].float() for name in ("x", "delta", "A", "B", "C_at", "D")]
        y = numba.scan_at(*inputs, ops.Walk(given["position"], 5))
    assert torch.isnan(y[0, 0])
    assert not torch.isnan(y[1]).any()


@pytest.mark.parametrize(
    ("name", "size"), [("delta", (2, 5, 3)), ("A", (4, 2)), ("B", (3, 2, 2)), ("C", (3, 5, 1)), ("D", (4,))]
)
def test_tensors_whose_shapes_do_not_fit_are_refused_by_name(name, size):
    given = {**problem((3, 5, 3, 2)), name: torch.zeros(size)}
    with pytest.raises(ValueError, match=rf"^{name} has shape|it must be"):
        ops.selective_scan(*(given[key] for key in ("x", "delta", "A", "B", "C", "D")))


@pytest.mark.parametrize("position", [-1, 5])
def test_positions_outside_a_row_are_refused(position):
    given = problem((3, 5, 3, 2))
    inputs = [given[key] for key in ("x", "delta", "A", "B", "C_at", "D")]
    with pytest.raises(ValueError, match=r"positions must lie in 0\.\.4"):
        ops.selective_scan_at(*inputs, torch.tensor([0, position, 1]))


def test_a_second_derivative_is_refused_rather_than_wrong():
    given = problem((2, 4, 3, 2))
    x = given["x"].requires_grad_()
    y = ops.selective_scan(x, *(given[key] for key in ("delta", "A", "B", "C", "D")))
    (gradient,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
