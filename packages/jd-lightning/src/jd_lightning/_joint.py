"""The scalar that stands for the objectives between `training_step` and `backward`."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from ._objectives import Objectives

_OBJECTIVES = "_jd_objectives"
"""Attribute of the node of the scalar: the objectives travel with it, the module holds nothing."""


class _Joint(torch.autograd.Function):
    """The mean of the objectives, whose node Jacobian descent starts from."""

    @staticmethod
    def forward(ctx: Any, objectives: Objectives, *_losses: Tensor) -> Tensor:
        """Return the mean; its losses, given again, link it to the graph."""
        setattr(ctx, _OBJECTIVES, objectives)
        return objectives.values().mean()

    @staticmethod
    def backward(_ctx: Any, *_grads: Any) -> Any:
        """Refuse: whoever comes here sums the gradients, and thinks that they are aggregated."""
        raise RuntimeError(
            "The result of `objectives` must be differentiated by its JDModule. Got an ordinary "
            "backward pass, which would sum the gradients of the objectives. Return it from "
            "`training_step`, or call `self.manual_backward` in manual optimisation; in either "
            "case of the module that the trainer fits, and without an own `backward`."
        )


def join(objectives: Objectives) -> Tensor:
    """Return the mean of the objectives, from which :func:`find` leads back to them."""
    apply: Any = _Joint.apply  # torch does not annotate it
    value: Tensor = apply(objectives, *objectives.losses)
    return value


def find(loss: Tensor) -> tuple[Objectives, Tensor] | None:
    r"""Return the objectives that ``loss`` is made of, and the derivative by each; None if none.

    :param loss: What ``training_step`` returned, scaled by Lightning:
        :math:`c \cdot \mathrm{objectives}(\ell_1, \dots, \ell_m)`.
    :returns: The objectives, and :math:`c`.
    :raises RuntimeError: If ``loss`` depends on anything else.
    """
    joints, has_others = _walk(loss)
    if not joints:
        return None
    if has_others:
        raise RuntimeError(
            "What `training_step` returns must depend on nothing but the result of `objectives`, "
            "times numbers. Got a loss with another part that requires grad, whose gradient would "
            "be lost. Pass that part to `objectives` as one objective more, or add it to those "
            "that it belongs to."
        )
    if len(joints) > 1:
        raise RuntimeError(
            "One backward pass must be of one result of `objectives`. Got a loss made of "
            f"{len(joints)}. Pass all losses to one call of `objectives`."
        )
    (node,) = joints
    # Where the gradient enters the node, and no further: the graph of the losses is not touched.
    (factor,) = torch.autograd.grad(loss, [GradientEdge(node, 0)], retain_graph=True)
    return getattr(node, _OBJECTIVES), factor.detach()


def _walk(loss: Tensor) -> tuple[list[Node], bool]:
    """Return the joints below ``loss``, and whether a leaf is reached past them."""
    joints: list[Node] = []
    has_others = False
    seen: set[Node] = set()
    stack = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(getattr(node, _OBJECTIVES, None), Objectives):
            joints.append(node)
        elif type(node).__name__ == "AccumulateGrad":
            has_others = True
        else:
            stack += [next_node for next_node, _ in node.next_functions]
    return joints, has_others
