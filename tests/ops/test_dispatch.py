"""The choice of a backend, and the layout of mamba-ssm with the reference in place of its kernels."""

import logging
import sys
import types

import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import dispatch, numba, reference
from tests.ops.numerics import REVERSE, assert_close, normal, results, scan_inputs, scan_results


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv("ECHOMAMBA_SCAN", raising=False)
    dispatch._choose.cache_clear()
    yield
    dispatch._choose.cache_clear()


def test_a_forced_backend_is_the_one_that_runs(monkeypatch):
    assert dispatch.backend_for(torch.zeros(1)) is numba
    monkeypatch.setenv("ECHOMAMBA_SCAN", "reference")
    assert dispatch.backend_for(torch.zeros(1)) is reference
    monkeypatch.setenv("ECHOMAMBA_SCAN", "numba")
    assert dispatch.backend_for(torch.zeros(1)) is numba


def test_the_choice_is_logged_once_with_its_reason(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # its import fails
    with caplog.at_level(logging.INFO):
        dispatch.backend_for(torch.zeros(1))
        dispatch.backend_for(torch.zeros(1))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "on cpu: reference (no numba: numba does not import" in line
    assert "pip install numba" in line


def test_an_unknown_backend_is_refused_with_the_list_of_known_ones(monkeypatch):
    monkeypatch.setenv("ECHOMAMBA_SCAN", "fast")
    with pytest.raises(ValueError, match="numba, triton, mamba_ssm, reference"):
        dispatch.backend_for(torch.zeros(1))


@pytest.mark.parametrize(
    ("forced", "device", "advice"),
    [
        ("numba", "cpu", "pip install numba"),
        ("numba", "cuda", "numba runs on cpu"),
        ("triton", "cpu", "triton runs on cuda"),
        ("triton", "cuda", "pip install triton"),
        ("mamba_ssm", "cpu", "mamba_ssm runs on cuda"),
        ("mamba_ssm", "cuda", r"selective_scan_cuda.*pip install --no-build-isolation 'recbole_echomamba\[cuda\]'"),
    ],
)
def test_a_forced_backend_that_cannot_run_says_why_and_what_to_install(monkeypatch, forced, device, advice):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for module in ("numba", "triton", "selective_scan_cuda"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=advice):
        dispatch._choose(device, forced, False)


@pytest.fixture
def mamba_ssm(monkeypatch):
    """Install modules with the signatures and the layout ``[B, D, L]`` of mamba-ssm and causal-conv1d, and import the backend."""

    def selective_scan_fn(u, delta, A, B, C, D=None):
        assert A.dtype == D.dtype == torch.float32
        turned = [t.transpose(1, 2) for t in (u, delta, B, C)]
        y = reference.selective_scan(turned[0], turned[1], A.to(u.dtype), turned[2], turned[3], D.to(u.dtype))
        return y.transpose(1, 2)

    def causal_conv1d_fn(x, weight, bias, activation):
        assert activation == "silu"
        x = x.transpose(1, 2)
        walk = ops.Walk.over_all(*x.shape[:2], x.device)
        return reference.conv_silu(x, weight[:, None], bias, walk)[0].transpose(1, 2)

    names = ["selective_scan_cuda", "mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"]
    modules = {name: types.ModuleType(name) for name in [*names, "causal_conv1d"]}
    modules[names[3]].selective_scan_fn = selective_scan_fn
    modules["causal_conv1d"].causal_conv1d_fn = causal_conv1d_fn
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "recbole_echomamba.ops.mamba_ssm", raising=False)
    from recbole_echomamba.ops import mamba_ssm as backend

    yield backend
    sys.modules.pop("recbole_echomamba.ops.mamba_ssm", None)
    del ops.mamba_ssm


@REVERSE
@pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
def test_mamba_ssms_layout_is_met_and_undone(mamba_ssm, at, reverse):
    given = scan_inputs((3, 7, 5, 3))
    expected = scan_results(reference, given, at, reverse, torch.float64)
    assert_close(
        scan_results(mamba_ssm, given, at, reverse, torch.float64), expected, 1e-6
    )  # A and D pass through float32


@REVERSE
@pytest.mark.parametrize("taps", [4, 5])
def test_causal_conv1ds_layout_is_met_and_undone(mamba_ssm, taps, reverse):
    inputs = [normal(3, 6, 5), normal(5, 1, taps, seed=1), normal(5, seed=2)]
    walk = ops.Walk(torch.tensor([0, 5, 3]), 6, reverse)
    expected = results(lambda *i: reference.conv_silu(*i, walk), inputs)
    assert_close(results(lambda *i: mamba_ssm.conv_silu(*i, walk), inputs), expected, 1e-12)


def test_mamba_ssm_is_preferred_for_a_scan_over_all_positions_only(mamba_ssm, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))
    assert dispatch._best("cuda", all_positions=True)[0] == "mamba_ssm"
    assert dispatch._best("cuda", all_positions=False)[0] == "triton"
    assert dispatch._best("cpu", all_positions=True)[0] == "numba"
