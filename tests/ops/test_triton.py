"""The Triton kernels: interpreted on a CPU in a process of their own, compiled for a GPU, run on one when there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_echomamba.ops import reference
from tests.ops.numerics import assert_close, scan_inputs, scan_results

pytest.importorskip("triton", reason="triton is an extra: pip install 'recbole_echomamba[triton]'")
from recbole_echomamba.ops import triton as backend
from recbole_echomamba.ops.triton import kernels, scan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ["cpu"] if INTERPRETED else ["cuda"] if torch.cuda.is_available() else []
on_devices = pytest.mark.parametrize("device", DEVICES)
both_forms = pytest.mark.parametrize("at", [False, True], ids=["all", "at"])
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])

SHAPES = [(3, 7, 5, 3), (1, 1, 1, 1), (2, 37, 20, 8)]
SHAPES += [] if INTERPRETED else [(64, 200, 128, 32), (2, 3200, 128, 32), (3, 50, 256, 16)]


def on(device, given):
    return {name: tensor.to(device) for name, tensor in given.items()}


if DEVICES:

    @on_devices
    @both_ways
    @both_forms
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_the_kernels_agree_with_the_float64_reference(shape, at, reverse, device):
        given = on(device, scan_inputs(shape))
        found = scan_results(backend, given, at, reverse, torch.float32)
        # one step from a zero state has a gradient of A of exactly 0, of which a GPU leaves 1e-10
        assert_close(found, scan_results(reference, given, at, reverse, torch.float64), 1e-5, least=1e-4)

    @on_devices
    @both_ways
    @both_forms
    def test_several_blocks_of_channels_give_what_one_gives(at, reverse, device, monkeypatch):
        given = on(device, scan_inputs((2, 19, 20, 4)))
        expected = scan_results(reference, given, at, reverse, torch.float64)
        monkeypatch.setattr(scan, "TILE", 64 if at else 256)
        assert scan._layout(2, 20, 4, scan.K_AT if at else scan.K_SCAN)[0] == (2, 5)
        assert_close(scan_results(backend, given, at, reverse, torch.float32), expected, 1e-5)

    @on_devices
    @both_forms
    @pytest.mark.parametrize(("delta", "decay"), [(0.7, 32.0), (20.0, 100.0)])
    def test_large_steps_and_decays_stay_exact(at, delta, decay, device):
        given = on(device, scan_inputs((2, 60, 4, 4), delta=delta, decay=decay))
        found = scan_results(backend, given, at, False, torch.float32)
        assert_close(found, scan_results(reference, given, at, False, torch.float64), 1e-5)

    @on_devices
    @both_forms
    def test_bfloat16_inputs_have_float32_states(at, device):
        given = scan_inputs((2, 40, 8, 4))
        given = on(device, {k: v if k == "position" else v.bfloat16().double() for k, v in given.items()})
        found = scan_results(backend, given, at, False, torch.bfloat16)
        assert found["y"].dtype == torch.bfloat16
        assert_close(found, scan_results(reference, given, at, False, torch.float64), 2e-2)

    @on_devices
    def test_slots_beyond_the_position_are_never_read(device):
        given = on(device, scan_inputs((4, 9, 5, 3)))
        for reverse in (False, True):
            slots, position = torch.arange(9, device=device), given["position"][:, None]
            spoilt = {**given, "delta": given["delta"].clone(), "x": given["x"].clone()}
            unread = (slots < position) if reverse else (slots > position)
            spoilt["delta"][unread] = spoilt["x"][unread] = float("nan")
            expected = scan_results(backend, given, True, reverse, torch.float32)
            for name, value in scan_results(backend, spoilt, True, reverse, torch.float32).items():
                assert torch.equal(value, expected[name]), name


if not INTERPRETED:

    def test_interpreted_in_a_process_of_its_own():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        root = Path(__file__).parent.parent.parent
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:]

    POINTERS = {
        "position": "*i64",
        **dict.fromkeys(["A2", "kept", "dA", "dB", "dC", "dC_at", "dinput", "dpassed"], "*fp32"),
    }
    SIZES = dict.fromkeys(["batch", "length", "channels", "states", "chunks"], "i32")
    AT, ALL = ({"REVERSE": True, **scan._layout(1, 128, 32, steps)[1]} for steps in (scan.K_AT, scan.K_SCAN))
    CONSTANTS = {"scan_at": AT, "scan_at_backward": AT, "scan": ALL, "scan_backward": ALL}
    CONSTANTS["scan_at_finish"] = {"REVERSE": True, "K": 16, "BLOCK_D": 64}

    @pytest.mark.parametrize("capability", [80, 90])
    @pytest.mark.parametrize("dtype", ["fp32", "bf16"])
    @pytest.mark.parametrize("name", CONSTANTS)
    def test_every_kernel_compiles_for_a_gpu(name, dtype, capability):
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        kernel, constants = getattr(kernels, name), {k: v for k, v in CONSTANTS[name].items() if k != "num_warps"}
        signature = {
            argument: "constexpr" if argument in constants else {**POINTERS, **SIZES}.get(argument, "*" + dtype)
            for argument in kernel.arg_names
        }
        places = {(kernel.arg_names.index(argument),): value for argument, value in constants.items()}
        source = ASTSource(kernel, signature, places)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
        assert compiled.asm["cubin"]
