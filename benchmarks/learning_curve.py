"""Measure validation NDCG@10 during training, and write it as lines of JSON; imported by other environments than ours too.

A curve file begins with a line that says what is trained, has one line per measurement, and ends with a line ``{"done": ...}``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

K = 10


def ndcg_at_10(ranks: np.ndarray) -> float:
    """Return the mean NDCG@10 over users with one target each: ``1 / log2(rank + 1)`` up to rank 10, 0 beyond.

    Args:
        ranks: ``[users]``, 1 is best; infinity where the target is not ranked.
    """
    ranks = np.asarray(ranks, dtype=float)
    return float(np.where(ranks <= K, 1 / np.log2(ranks + 1), 0.0).mean())


class LearningCurve:
    """Measure a model during its training, without counting the seconds that measuring takes.

    CPU seconds are those of all threads of this process.

    Args:
        path: curve file, which is replaced.
        header: content of the first line.
        every: CPU seconds of training between measurements.
        budget: CPU seconds of training.
        rank_targets: return the ranks of the validation targets, ``[users]`` each: among all items, and with the seen items
            left out.
    """

    def __init__(
        self,
        path: Path | str,
        header: dict,
        every: float,
        budget: float,
        rank_targets: Callable[[], tuple[np.ndarray, np.ndarray]],
    ):
        self.path, self.every, self.budget, self.rank_targets = Path(path), every, budget, rank_targets
        self.steps = self.epochs = 0
        self._measured_steps = 0
        self._next = every
        self.path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def start(self) -> None:
        """Start the clocks; call it before the first batch is read."""
        self._cpu_start, self._wall_start = time.process_time(), time.perf_counter()

    def end_step(self) -> bool:
        """Count a training step, measure when it is time to, and return whether the budget is spent."""
        self.steps += 1
        cpu = time.process_time() - self._cpu_start
        if cpu >= min(self._next, self.budget):
            self._measure()
        return cpu >= self.budget

    def end_epoch(self) -> None:
        """Count an epoch, and measure unless its last step was measured."""
        self.epochs += 1
        if self._measured_steps < self.steps:
            self._measure()

    def finish(self, reason: str) -> None:
        """Mark the curve as complete."""
        self._append({"done": reason, "epochs": self.epochs, "steps": self.steps})

    def _measure(self) -> None:
        cpu, wall = time.process_time() - self._cpu_start, time.perf_counter() - self._wall_start
        ranks, ranks_unseen = self.rank_targets()
        self._append(
            {
                "cpu": round(cpu, 2),
                "wall": round(wall, 2),
                "epochs": self.epochs,
                "steps": self.steps,
                "ndcg": round(ndcg_at_10(ranks), 5),
                "ndcg_unseen": round(ndcg_at_10(ranks_unseen), 5),
            }
        )
        self._measured_steps = self.steps
        while self._next <= cpu:
            self._next += self.every
        self._cpu_start, self._wall_start = time.process_time() - cpu, time.perf_counter() - wall

    def _append(self, line: dict) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
