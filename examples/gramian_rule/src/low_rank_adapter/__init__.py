"""A linear layer with a low-rank adapter, as one node of the autograd graph."""

import torch
from torch import Tensor, nn


class LowRankAdapter(torch.autograd.Function):
    """``x @ weight.T + scale * x @ down.T @ up.T``, which keeps no intermediate result."""

    @staticmethod
    def forward(ctx, x, weight, down, up, scale):  # [*, d], [p, d], [r, d], [p, r] -> [*, p]
        """Return the output; the intermediate results are computed anew in the backward."""
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return x @ weight.T + scale * (x @ down.T @ up.T)

    @staticmethod
    def backward(ctx, grad):
        """Return the gradients of the tensors."""
        x, weight, down, up = ctx.saved_tensors
        needed = ctx.needs_input_grad
        scaled = ctx.scale * grad
        rows = x.reshape(-1, x.shape[-1])
        columns = scaled.reshape(-1, scaled.shape[-1]).T
        return (
            grad @ weight + scaled @ up @ down if needed[0] else None,
            grad.reshape(-1, grad.shape[-1]).T @ rows if needed[1] else None,
            up.T @ columns @ rows if needed[2] else None,
            columns @ (rows @ down.T) if needed[3] else None,
            None,
        )


class AdaptedLinear(nn.Module):
    """A frozen linear layer without bias, and an adapter of a given rank that is trained."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.down = nn.Parameter(torch.randn(rank, linear.in_features).to(self.weight))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank).to(self.weight))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer and its adapter."""
        return LowRankAdapter.apply(x, self.weight, self.down, self.up, self.scale)
