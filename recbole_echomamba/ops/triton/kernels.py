"""Triton kernels of the selective scan: one program per row and block of channels, states in registers, float32 inside.

Tokens are padded, ``[B, L, .]``. A program takes ``K`` steps of a walk at once as a tile ``[K, BLOCK_D, BLOCK_N]`` (steps,
channels, states); ``REVERSE`` turns the direction, so nothing is flipped. ``A2`` is ``A * log2(e)``. Entries outside the
tensors are loaded as zero: a zero step size leaves a state as it is. Gradients of ``B`` and ``C`` are sums over channels and
come as one share per block.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _tile(pointer, token, column, columns, valid):
    """``[K, columns]`` of a ``[tokens, columns]`` tensor, in float32."""
    return tl.load(pointer + token[:, None] * columns + column[None, :], mask=valid, other=0.0).to(tl.float32)


@triton.jit
def _compose(decay_a, state_a, decay_b, state_b):
    """First ``a``, then ``b``, of two steps ``h -> decay h + state``."""
    return decay_a * decay_b, decay_b * state_a + state_b


@triton.jit
def scan_at(
    x, delta, A2, B, C_at, D, position, y,
    length, channels, states,
    REVERSE: tl.constexpr, K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """``y [B, D]``, read out at ``position [B]``."""
    row = tl.program_id(0).to(tl.int64)
    k, n = tl.arange(0, K), tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_d, in_n = d < channels, n < states
    a = tl.load(A2 + d[:, None] * states + n[None, :], mask=in_d[:, None] & in_n[None, :], other=0.0)
    c = tl.load(C_at + row * states + n, mask=in_n, other=0.0).to(tl.float32)
    slot = tl.load(position + row)
    count = length - slot if REVERSE else slot + 1
    sign = 1 if REVERSE else -1
    passed = tl.zeros([BLOCK_D], tl.float32)
    total = tl.zeros([BLOCK_D], tl.float32)
    for begin in range(0, count, K):
        step = begin + k
        token = row * length + slot + sign * step
        valid = (step < count)[:, None] & in_d[None, :]
        delta_k = _tile(delta, token, d, channels, valid)
        before = _tile(delta, token - sign, d, channels, valid & (k > 0)[:, None])
        between = passed[None, :] + tl.cumsum(before, 0)
        gate = _tile(B, token, n, states, (step < count)[:, None] & in_n[None, :]) * c[None, :]
        weight = tl.sum(gate[:, None, :] * tl.exp2(a[None, :, :] * between[:, :, None]), 2)
        total += tl.sum(delta_k * _tile(x, token, d, channels, valid) * weight, 0)
        passed += tl.sum(delta_k, 0)
    x_at = tl.load(x + (row * length + slot) * channels + d, mask=in_d, other=0.0).to(tl.float32)
    total += tl.load(D + d, mask=in_d, other=0.0).to(tl.float32) * x_at
    tl.store(y + row * channels + d, total, mask=in_d)


@triton.jit
def scan_at_backward(
    x, delta, A2, B, C_at, dy, position, dinput, dpassed, dA, dB, dC_at,
    batch, length, channels, states,
    REVERSE: tl.constexpr, K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The walk away from the position: gradients of ``delta x`` (``dinput``) and of the delta passed (``dpassed``, by ln 2).

    ``dA [B, D, N]``, ``dB [blocks, B, L, N]`` and ``dC_at [blocks, B, N]`` are shares to be summed.
    """
    row = tl.program_id(0).to(tl.int64)
    k, n = tl.arange(0, K), tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    share = tl.program_id(1).to(tl.int64) * batch + row
    in_d, in_n = d < channels, n < states
    a = tl.load(A2 + d[:, None] * states + n[None, :], mask=in_d[:, None] & in_n[None, :], other=0.0)
    c = tl.load(C_at + row * states + n, mask=in_n, other=0.0).to(tl.float32)
    out = tl.load(dy + row * channels + d, mask=in_d, other=0.0).to(tl.float32)
    slot = tl.load(position + row)
    count = length - slot if REVERSE else slot + 1
    sign = 1 if REVERSE else -1
    passed = tl.zeros([BLOCK_D], tl.float32)
    dA_row = tl.zeros([BLOCK_D, BLOCK_N], tl.float32)
    dC_row = tl.zeros([BLOCK_N], tl.float32)
    for begin in range(0, count, K):
        step = begin + k
        token = row * length + slot + sign * step
        valid = (step < count)[:, None] & in_d[None, :]
        valid_n = (step < count)[:, None] & in_n[None, :]
        delta_k = _tile(delta, token, d, channels, valid)
        before = _tile(delta, token - sign, d, channels, valid & (k > 0)[:, None])
        between = passed[None, :] + tl.cumsum(before, 0)
        b = _tile(B, token, n, states, valid_n)
        decay = tl.exp2(a[None, :, :] * between[:, :, None])
        gated = (b * c[None, :])[:, None, :] * decay
        pull = out[None, :] * delta_k * _tile(x, token, d, channels, valid)
        dgate = tl.sum(decay * pull[:, :, None], 1)
        dA_row += tl.sum(gated * (pull * between)[:, :, None], 0)
        dC_row += tl.sum(dgate * b, 0)
        tl.store(
            dB + (share * length - row * length + token)[:, None] * states + n[None, :],
            dgate * c[None, :],
            mask=valid_n,
        )
        place = token[:, None] * channels + d[None, :]
        tl.store(dinput + place, out[None, :] * tl.sum(gated, 2), mask=valid)
        tl.store(dpassed + place, pull * tl.sum(gated * a[None, :, :], 2), mask=valid)
        passed += tl.sum(delta_k, 0)
    tl.store(dA + (row * channels + d)[:, None] * states + n[None, :], dA_row, mask=in_d[:, None] & in_n[None, :])
    tl.store(dC_at + share * states + n, dC_row, mask=in_n)


@triton.jit
def scan_at_finish(
    x, delta, D, dy, position, dinput, dpassed, dx, ddelta,
    length, channels,
    REVERSE: tl.constexpr, K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The walk back: every ``delta`` is part of what was passed at all tokens further out."""
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, K)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_d = d < channels
    slot = tl.load(position + row)
    count = length - slot if REVERSE else slot + 1
    sign = 1 if REVERSE else -1
    at_slot = tl.load(dy + row * channels + d, mask=in_d, other=0.0).to(tl.float32)
    at_slot *= tl.load(D + d, mask=in_d, other=0.0).to(tl.float32)
    further = tl.zeros([BLOCK_D], tl.float32)
    for begin in range(0, count, K):
        step = count - 1 - begin - k
        token = row * length + slot + sign * step
        valid = (step >= 0)[:, None] & in_d[None, :]
        beyond = _tile(dpassed, token + sign, d, channels, valid & (k > 0)[:, None])
        gradient = _tile(dinput, token, d, channels, valid)
        total = (further[None, :] + tl.cumsum(beyond, 0)) * LN2 + gradient * _tile(x, token, d, channels, valid)
        place = token[:, None] * channels + d[None, :]
        tl.store(ddelta + place, total, mask=valid)
        here = gradient * _tile(delta, token, d, channels, valid)
        tl.store(dx + place, here + tl.where((step == 0)[:, None], at_slot[None, :], 0.0), mask=valid)
        further += tl.sum(_tile(dpassed, token, d, channels, valid), 0)


@triton.jit
def scan(
    x, delta, A2, B, C, D, y, kept,
    length, channels, states, chunks,
    REVERSE: tl.constexpr, K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """``y [B, L, D]``, and the state before every chunk of ``K`` steps, ``kept [B, chunks, D, N]``."""
    row = tl.program_id(0).to(tl.int64)
    k, n = tl.arange(0, K), tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_d, in_n = d < channels, n < states
    in_state = in_d[:, None] & in_n[None, :]
    a = tl.load(A2 + d[:, None] * states + n[None, :], mask=in_state, other=0.0)
    skip = tl.load(D + d, mask=in_d, other=0.0).to(tl.float32)
    first, sign = (length - 1, -1) if REVERSE else (0, 1)
    h = tl.zeros([BLOCK_D, BLOCK_N], tl.float32)
    for chunk in range(0, chunks):
        tl.store(kept + ((row * chunks + chunk) * channels + d)[:, None] * states + n[None, :], h, mask=in_state)
        step = chunk * K + k
        token = row * length + first + sign * step
        valid, valid_n = (step < length)[:, None] & in_d[None, :], (step < length)[:, None] & in_n[None, :]
        delta_k, x_k = _tile(delta, token, d, channels, valid), _tile(x, token, d, channels, valid)
        decay = tl.exp2(a[None, :, :] * delta_k[:, :, None])
        state = (delta_k * x_k)[:, :, None] * _tile(B, token, n, states, valid_n)[:, None, :]
        decayed, state = tl.associative_scan((decay, state), 0, _compose)
        state += decayed * h[None, :, :]
        out = tl.sum(state * _tile(C, token, n, states, valid_n)[:, None, :], 2) + skip[None, :] * x_k
        tl.store(y + token[:, None] * channels + d[None, :], out, mask=valid)
        h = tl.sum(tl.where((k == K - 1)[:, None, None], state, 0.0), 0)


@triton.jit
def scan_backward(
    x, delta, A2, B, C, D, dy, kept, dx, ddelta, dA, dB, dC,
    batch, length, channels, states, chunks,
    REVERSE: tl.constexpr, K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients, from the last chunk to the first; ``dA [B, D, N]``, ``dB`` and ``dC [blocks, B, L, N]`` are shares."""
    row = tl.program_id(0).to(tl.int64)
    k, n = tl.arange(0, K), tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    share = tl.program_id(1).to(tl.int64) * batch
    in_d, in_n = d < channels, n < states
    in_state = in_d[:, None] & in_n[None, :]
    a = tl.load(A2 + d[:, None] * states + n[None, :], mask=in_state, other=0.0)
    skip = tl.load(D + d, mask=in_d, other=0.0).to(tl.float32)
    first, sign = (length - 1, -1) if REVERSE else (0, 1)
    later = tl.zeros([BLOCK_D, BLOCK_N], tl.float32)  # what the next chunk's first step hands back
    dA_row = tl.zeros([BLOCK_D, BLOCK_N], tl.float32)
    for index in range(0, chunks):
        chunk = chunks - 1 - index
        h = tl.load(
            kept + ((row * chunks + chunk) * channels + d)[:, None] * states + n[None, :], mask=in_state, other=0.0
        )
        step = chunk * K + k
        token = row * length + first + sign * step
        valid, valid_n = (step < length)[:, None] & in_d[None, :], (step < length)[:, None] & in_n[None, :]
        delta_k, x_k = _tile(delta, token, d, channels, valid), _tile(x, token, d, channels, valid)
        b, c = _tile(B, token, n, states, valid_n), _tile(C, token, n, states, valid_n)
        dy_k = _tile(dy, token, d, channels, valid)
        decay = tl.exp2(a[None, :, :] * delta_k[:, :, None])
        injected = (delta_k * x_k)[:, :, None] * b[:, None, :]
        decayed, state = tl.associative_scan((decay, injected), 0, _compose)
        state += decayed * h[None, :, :]
        next_delta = _tile(delta, token + sign, d, channels, valid & ((k < K - 1) & (step + 1 < length))[:, None])
        back = tl.exp2(a[None, :, :] * next_delta[:, :, None])
        given = dy_k[:, :, None] * c[:, None, :] + tl.where((k == K - 1)[:, None, None], later[None, :, :], 0.0)
        _, dstate = tl.associative_scan((back, given), 0, _compose, reverse=True)
        du = tl.sum(dstate * b[:, None, :], 2)
        ddecay = dstate * (state - injected)  # by the exponent: the state before the step, decayed
        dA_row += tl.sum(ddecay * delta_k[:, :, None], 0)
        place = token[:, None] * channels + d[None, :]
        tl.store(ddelta + place, tl.sum(ddecay * a[None, :, :], 2) * LN2 + du * x_k, mask=valid)
        tl.store(dx + place, du * delta_k + skip[None, :] * dy_k, mask=valid)
        place = (share * length + token)[:, None] * states + n[None, :]
        tl.store(dB + place, tl.sum(dstate * (delta_k * x_k)[:, :, None], 1), mask=valid_n)
        tl.store(dC + place, tl.sum(state * dy_k[:, :, None], 1), mask=valid_n)
        later = tl.sum(tl.where((k == 0)[:, None, None], decay * dstate, 0.0), 0)
    tl.store(dA + (row * channels + d)[:, None] * states + n[None, :], dA_row, mask=in_state)
