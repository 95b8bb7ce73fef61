"""The rule of any node: its own backward, one sample at a time."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.checkpoint import GraphExecGroup

from torchjd._autograd._nodes import is_opaque

from ._layout import Layout
from ._rules._call import Call
from ._uses._rows import Rows
from ._uses._use import Use


def fallback(call: Call) -> Mapping[int, Use]:
    """Return the gradients of all losses by one backward of the node each, of one sample's part.

    Exact for any node: its backward is linear in the cotangents, and those of a sample are what is
    left when the others are set to zero.
    """
    # Within a backward pass, autograd tells nodes to leave out the gradients of parameters, in the
    # thread that the pass runs in: another thread is asked.
    group = GraphExecGroup._get_current_group()
    device = next(cotangent.device for cotangent in call.cotangents if cotangent is not None)
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def compute() -> Mapping[int, Use]:
        with torch.no_grad(), torch.cuda.stream(stream), group or nullcontext():
            return _by_sample(call, device)

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(compute).result()


def _by_sample(call: Call, device: torch.device) -> Mapping[int, Use]:
    jacobians: dict[int, Tensor] = {}
    size = (call.tasks, call.batch)
    for task in range(call.tasks):
        for sample in range(call.batch):
            grads = _backward(
                call.node,
                [
                    None if cotangent is None else _only(cotangent[task], layout, sample, call)
                    for cotangent, layout in zip(call.cotangents, call.layouts, strict=True)
                ],
            )
            for slot, shape in call.wanted.items():
                grad = grads[slot]
                if grad is None:
                    continue
                if slot not in jacobians:
                    # The gradient of a parameter is real, unless the parameter is complex.
                    dtype = torch.promote_types(grad.dtype, call.dtype)
                    jacobians[slot] = torch.zeros((*size, *shape), dtype=dtype, device=device)
                dense = grad if grad.layout == torch.strided else grad.to_dense()
                # As the engine of autograd does before it hands a gradient on.
                jacobians[slot][task, sample] = dense.sum_to_size(shape)
    return {slot: Rows(jacobian) for slot, jacobian in jacobians.items()}


def _only(cotangent: Tensor, layout: Layout | None, sample: int, call: Call) -> Tensor:
    """Return ``cotangent`` with zeros wherever another sample than ``sample`` sits."""
    if layout is None:
        raise ValueError("`layouts` must be known wherever there is a cotangent. Got None.")
    only = torch.zeros_like(cotangent, memory_format=torch.contiguous_format)
    layout.front(only, call.batch)[sample] = layout.front(cotangent, call.batch)[sample]
    return only


def _backward(node: Node, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    # Through the engine of autograd, contributions from deeper in the graph would be added.
    run: Any = node
    if is_opaque(node):
        return _backward_of_function(run, grads)
    result = run(*grads)
    return result if isinstance(result, tuple) else (result,)


def _backward_of_function(node: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Run the backward of a custom Function, with what autograd does before and after."""
    filled = [
        torch.zeros(entry.shape, dtype=entry.dtype, device=entry.device) if grad is None else grad
        for grad, entry in zip(grads, node._input_metadata, strict=True)
    ]
    result = node.apply(*filled)
    # One for each argument of the forward, of which those that are no tensors are no inputs.
    of_tensors = iter(result if isinstance(result, tuple) else (result,))
    needed = (g for g, wanted in zip(of_tensors, node.needs_input_grad, strict=False) if wanted)
    return tuple(None if below is None else next(needed) for below, _ in node.next_functions)
