"""Change the learning rate during training, step by step."""

from __future__ import annotations

import math

import torch


def schedule_learning_rate(config, optimizer: torch.optim.Optimizer, steps: int):
    """Attach the schedule of ``lr_schedule`` and ``lr_warmup`` to an optimizer; it advances with every step of it.

    The rate rises linearly over the first ``lr_warmup`` of all steps; then it stays (``constant``) or falls to zero along half a
    cosine (``cosine``).

    Args:
        config: a :class:`.Config`.
        optimizer: starts at ``learning_rate``.
        steps: number of steps of the whole training.

    Returns:
        The scheduler, whose state belongs to the training state; ``None`` when the rate never changes.
    """
    cosine, warmup = config["lr_schedule"] == "cosine", round(config["lr_warmup"] * steps)
    if not cosine and not warmup:
        return None

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1 + math.cos(math.pi * progress)) if cosine else 1.0

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return scheduler


def restore_schedule(scheduler: torch.optim.lr_scheduler.LambdaLR, state: dict) -> None:
    """Continue a schedule from a saved state, the rate of the optimizer included, which making the scheduler has reset."""
    scheduler.load_state_dict(state)
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate
