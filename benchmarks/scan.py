"""The scan alone, forward and backward, by backend and form: ``python -m benchmarks.scan``."""

from __future__ import annotations

import torch

from benchmarks import timing
from recbole_echomamba.ops import Walk, dispatch


def main() -> None:
    """Print a table per shape."""
    parser = timing.arguments(__doc__, repetitions=7)
    parser.add_argument("--shapes", nargs="+", default=["64x200x128x32", "256x50x128x32"], metavar="BxLxDxN")
    options = parser.parse_args()
    timing.prepare(options)
    figures = []
    for shape in options.shapes:
        sizes = tuple(map(int, shape.split("x")))
        found = timing.seconds(calls(*sizes, options.device), options.repetitions, options.device)
        entries = [{"backend": k, "shape": sizes, "median": timing.median(v), "seconds": v} for k, v in found.items()]
        print(timing.heading(f"scan, forward and backward, one direction, BxLxDxN = {shape}", options))
        print(timing.table(["backend", "ms"], [[e["backend"], f"{e['median'] * 1e3:.1f}"] for e in entries]))
        figures += entries
        timing.write(options.json, options, figures)


def calls(batch: int, length: int, channels: int, states: int, device: str) -> dict:
    """A call per backend that can run here and per form: all positions, or the last, over lengths uniform in ``1..L``."""
    torch.manual_seed(0)
    x, delta = torch.randn(batch, length, channels), torch.rand(batch, length, channels) / 10
    A, D = -torch.arange(1.0, states + 1).repeat(channels, 1), torch.ones(channels)
    B, C = torch.randn(batch, length, states), torch.randn(batch, length, states)
    leaves = [tensor.to(device).requires_grad_() for tensor in (x, delta, A, B, C, D)]
    at = [*leaves[:4], C[:, 0].to(device).requires_grad_(), leaves[5]]
    walk = Walk(torch.randint(0, length, (batch,)).to(device), length)
    found = {}
    for name in dispatch.MODULES:
        if dispatch.why_not(name, device):
            continue
        backend = dispatch.module_of(name)
        found[f"{name}, last position"] = lambda b=backend: _both(b.scan_at(*at, walk), at)
        found[f"{name}, all positions"] = lambda b=backend: _both(b.selective_scan(*leaves), leaves)
    return found


def _both(y, leaves):
    torch.autograd.grad(y.sum(), leaves)


if __name__ == "__main__":
    main()
