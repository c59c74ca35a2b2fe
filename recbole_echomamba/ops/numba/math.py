"""What the Numba kernels share: how a kernel is compiled, and elementary functions that vectorise.

The exponential is a polynomial because a call to the C library's would keep a loop scalar, 14 times slower.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453

# Numba makes the attributes of its configuration at run time
numba_config: Any = numba.config  # pyright: ignore[reportPrivateImportUsage]
if numba_config.CPU_FEATURES is None:
    # LLVM avoids 512-bit registers on CPUs that slow down for them; these loops run twice as fast with them all the same
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        numba_config.CPU_FEATURES = features.flatten() + ",-prefer-256-bit"

EXACT = {"contract"}
FAST = {"contract", "reassoc", "nsz"}
"""Sums may be reordered, which is what lets them vectorise; NaN and infinity keep their meaning."""


@intrinsic
def _bits_of(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _float_of(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _shift_to_exponent(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.shl(args[0], ir.Constant(ir.IntType(32), 23))

    return types.int32(types.int32), codegen


@intrinsic
def _add_bits(typingctx, a, b):
    def codegen(context, builder, signature, args):
        return builder.add(args[0], args[1])

    return types.int32(types.int32, types.int32), codegen


# 1.5 * 2**23: adding it leaves the nearest integer in the low bits of the mantissa
_MAGIC = np.float32(12582912.0)
_LOW = np.float32(-80.0)
# minimax in relative error on |f| <= 1/2 (2e-9), by reweighted least squares; the constant is held at 1
_C1, _C2, _C3, _C4, _C5, _C6 = (
    np.float32(c)
    for c in (
        0.6931472057374553,
        0.24022646890606325,
        0.055503287765568114,
        0.009618488958657231,
        0.001339993138505375,
        0.0001534581197653092,
    )
)


@numba.njit(fastmath=EXACT, cache=True, error_model="numpy")
def _exp2_float32(x):
    shifted = x + _MAGIC
    f = x - (shifted - _MAGIC)
    p = (((((_C6 * f + _C5) * f + _C4) * f + _C3) * f + _C2) * f + _C1) * f + np.float32(1.0)
    # Numba itself passes the first argument of an intrinsic
    power = _float_of(_add_bits(_bits_of(p), _shift_to_exponent(_bits_of(shifted))))  # pyright: ignore[reportCallIssue]
    return np.float32(0.0) if x < _LOW else power  # NaN passes the comparison and stays NaN


@numba.njit(cache=True)
def _exp2_float64(x):
    return np.exp2(x)


def exp2(x):
    """``2 ** x`` for ``x <= 0``: a polynomial good to float32 rounding for float32, the C library's for float64.

    In float32 anything below ``2 ** -80`` is zero: products of such numbers are denormal, which slows a CPU tenfold.
    """
    raise NotImplementedError("only inside compiled code")


@overload(exp2)
def _exp2(x):
    chosen = _exp2_float32 if x == types.float32 else _exp2_float64

    def implementation(x):
        return chosen(x)

    return implementation


def kernel(function):
    """Compile a function for :func:`.threads.in_ranges`: without the lock or bounds checks, cached on disk."""
    compiled = numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")(function)
    # Numba's cache watches the kernel's own file only, but the functions of this file are compiled into it
    changed = Path(__file__).stat().st_mtime
    for index in Path(str(compiled.stats.cache_path)).glob(f"*.{function.__qualname__}-*.nbi"):
        with contextlib.suppress(OSError):  # another process may have been first
            if index.stat().st_mtime < changed:
                index.unlink()
    return compiled


@numba.njit(fastmath=EXACT, cache=True, error_model="numpy")
def sigmoid(a, log2e, one):
    """``1 / (1 + exp(-a))`` for either sign; ``log2e`` and ``one`` come in the type of ``a``, or Numba would use float64."""
    small = exp2(-abs(a) * log2e)
    return (small if a < 0 else one) / (one + small)


# log1p(u) / u on [0, 1], minimax in relative error (3e-8); the constant is held at 1
_L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (
    np.float32(c)
    for c in (
        -0.49999648332595825,
        0.3332132399082184,
        -0.24857167899608612,
        0.19153675436973572,
        -0.13753856718540192,
        0.07920529693365097,
        -0.03006632812321186,
        0.005364974960684776,
    )
)


@numba.njit(fastmath=EXACT, cache=True, error_model="numpy")
def _log1p_float32(u):
    p = (((((((_L8 * u + _L7) * u + _L6) * u + _L5) * u + _L4) * u + _L3) * u + _L2) * u + _L1) * u
    return p * u + u


@numba.njit(cache=True)
def _log1p_float64(u):
    return np.log1p(u)


def log1p(u):
    """``log(1 + u)`` for ``0 <= u <= 1``: a polynomial for float32, the C library's for float64."""
    raise NotImplementedError("only inside compiled code")


@overload(log1p)
def _log1p(u):
    chosen = _log1p_float32 if u == types.float32 else _log1p_float64

    def implementation(u):
        return chosen(u)

    return implementation


@numba.njit(fastmath=EXACT, cache=True, error_model="numpy")
def softplus(a, zero, log2e):
    """``log(1 + exp(a))``; ``zero`` and ``log2e`` come in the type of ``a``."""
    return max(a, zero) + log1p(exp2(-abs(a) * log2e))
