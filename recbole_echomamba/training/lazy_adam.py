"""Adam that updates only the rows of an embedding that a step has read."""

from __future__ import annotations

import torch


class LazyAdam(torch.optim.Adam):
    """Adam, in which a row of a parameter with sparse gradients is left as it is in steps that do not read it.

    Neither such a row nor its moments change, where Adam would let the moments decay and move the row by them. When every row is
    read, both are the same (tested). As in :class:`torch.optim.SparseAdam`, the bias correction counts all steps.

    Args:
        params: the parameters; those with sparse gradients are updated by rows, all others as in Adam.
        lr: the learning rate.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """Update the parameters by their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    sparse.append((parameter, parameter.grad, group))
                    parameter.grad = None
        super().step()
        for parameter, gradient, group in sparse:
            self._update_rows(parameter, gradient, group)
            parameter.grad = gradient
        return loss

    def _update_rows(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"][rows].lerp_(values, 1 - beta1)
        square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"][rows] = mean
        state["exp_avg_sq"][rows] = square
        step = state["step"].item()
        denominator = square.sqrt_().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        parameter.index_add_(0, rows, mean / denominator, alpha=-group["lr"] / (1 - beta1**step))
