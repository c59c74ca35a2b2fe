"""Time the scan alone, forward and backward, by backend and form: ``python -m benchmarks.scan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks import timing
from recbole_echomamba.ops import Walk, dispatch


def main() -> None:
    parser = timing.make_parser(__doc__, repetitions=7)
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=["64x200x128x32", "256x50x128x32"],
        metavar="BxLxDxN",
        help="batch, length, channels and states",
    )
    options = parser.parse_args()
    timing.apply_options(options)
    figures = []
    for shape in options.shapes:
        batch, length, channels, states = map(int, shape.split("x"))
        calls = make_calls(batch, length, channels, states, options.device)
        seconds = timing.measure_seconds(calls, options.repetitions, options.device)
        entries = [
            {
                "backend": name,
                "shape": (batch, length, channels, states),
                "median": timing.median(values),
                "seconds": values,
            }
            for name, values in seconds.items()
        ]
        rows = [[entry["backend"], f"{entry['median'] * 1e3:.1f}"] for entry in entries]
        print(timing.format_heading(f"scan, forward and backward, one direction, BxLxDxN = {shape}", options))
        print(timing.format_table(["backend", "ms"], rows))
        figures += entries
        timing.write_figures(options.json, options, figures)


def make_calls(batch: int, length: int, channels: int, states: int, device: str) -> dict[str, Callable[[], None]]:
    """Return two calls for each backend that can run here: the scan at all positions, and at the last one.

    The lengths of the histories are uniform in ``1..length``.
    """
    torch.manual_seed(0)
    x, delta = torch.randn(batch, length, channels), torch.rand(batch, length, channels) / 10
    A, D = -torch.arange(1.0, states + 1).repeat(channels, 1), torch.ones(channels)
    B, C = torch.randn(batch, length, states), torch.randn(batch, length, states)
    full_inputs = [tensor.to(device).requires_grad_() for tensor in (x, delta, A, B, C, D)]
    # At one position, C is needed for that position only.
    x, delta, A, B, _, D = full_inputs
    last_inputs = [x, delta, A, B, C[:, 0].to(device).requires_grad_(), D]
    walk = Walk(torch.randint(0, length, (batch,)).to(device), length)
    calls = {}
    for name in dispatch.BACKENDS:
        if dispatch.why_not(name, device):
            continue
        backend = dispatch.module_of(name)
        calls[f"{name}, last position"] = partial(_scan_last_position, backend, last_inputs, walk)
        calls[f"{name}, all positions"] = partial(_scan_all_positions, backend, full_inputs)
    return calls


def _scan_last_position(backend, inputs: list[torch.Tensor], walk: Walk) -> None:
    torch.autograd.grad(backend.scan_at(*inputs, walk).sum(), inputs)


def _scan_all_positions(backend, inputs: list[torch.Tensor]) -> None:
    torch.autograd.grad(backend.selective_scan(*inputs).sum(), inputs)


if __name__ == "__main__":
    main()
