"""Compare exact top-10 and ranks over millions of items with the bare matrix product: ``python -m benchmarks.ranking``.

Prints the median seconds of processor time, which other processes disturb least, and the ratios to the two products: in pieces of
65,536 items, whose scores go to memory, and of 1,024 items, whose scores stay in the cache and are overwritten.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from recbole_echomamba.ops import linear_rank, linear_top_k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2_353_207)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    weight = torch.randn(options.items, options.width)
    encoded = torch.randn(options.users, options.width)
    target = torch.randint(0, options.items, (options.users,))

    def multiply(piece: int) -> None:
        for start in range(0, options.items, piece):
            encoded @ weight[start : start + piece].T

    calls = {
        "product, 65,536 items": lambda: multiply(65_536),
        "product, 1,024 items": lambda: multiply(1024),
        "top 10": lambda: linear_top_k(encoded, weight, 10),
        "ranks": lambda: linear_rank(encoded, weight, target),
    }
    seconds = {name: [] for name in calls}
    for _ in range(options.repetitions):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            seconds[name].append(time.process_time() - begin)
    medians = {name: statistics.median(measured) for name, measured in seconds.items()}
    large, small = list(medians.values())[:2]
    for name, median in medians.items():
        print(f"{name:22} {median:7.2f} s, {median / large:.2f} and {median / small:.2f} of the products")


if __name__ == "__main__":
    main()
