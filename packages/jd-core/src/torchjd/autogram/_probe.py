"""Where the samples sit, found by experiment."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from torchjd._autograd._donated import donated
from torchjd._autograd._nodes import Edge

from ._graph import Graph, shapes
from ._layout import Layout
from ._order import Losses

# Relative to the gradient of a sample: above what rounding does to sums of many terms.
_TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}

# Within those of half precision, samples that are weakly mixed would pass for apart. A product with
# a power of two is not rounded: what is off then is no rounding.
_TOLERANCES_OF_POWERS = _TOLERANCES | {torch.float16: 1e-3, torch.bfloat16: 8e-3}


@dataclass(frozen=True)
class _Scaling:
    """What the losses of the samples are multiplied by in one pass.

    :ivar factors: One for each sample.
    :ivar tolerances: How far from what they explain a gradient may be, by its dtype.
    """

    factors: Tensor
    tolerances: Mapping[torch.dtype, float]


@dataclass(frozen=True)
class _Profile:
    """What is remembered of a cotangent, along one of its dimensions.

    :ivar dim: The dimension.
    :ivar sketch: The cotangent multiplied by a fixed random tensor, summed over the others.
    :ivar norm: The norm of the cotangent over the others.
    """

    dim: int
    sketch: Tensor
    norm: Tensor


Profiles = dict[Edge, list[_Profile]]


def probe(
    output: Tensor, losses: Losses, graph: Graph, bottoms: Sequence[Node], skipped: set[Node]
) -> dict[Edge, Layout | None]:
    """Return where the samples sit in the cotangent of each output of each node.

    Two backward passes: in the second, the loss of each sample is multiplied by a number of its
    own. Where the cotangent of a node is multiplied by the same numbers along some dimension, the
    samples are apart, along it. In half precision, a third one does so with powers of two. The
    result is None if there is no such dimension, or if the cotangent is zero, which tells nothing;
    an output without a cotangent is left out.

    :param output: The losses.
    :param losses: How they are read.
    :param graph: The graph between them and the parameters.
    :param bottoms: Nodes that lead to no other node that is looked at.
    :param skipped: Nodes that are not looked at.
    :raises RuntimeError: If a backward pass changes what another one finds.
    """
    generator = torch.Generator().manual_seed(0)
    tasks = 0.5 + torch.rand(losses.tasks, 1, generator=generator, dtype=torch.float64)
    looked_at = [node for node in graph.order if node not in skipped]
    scalings = _scalings(losses.batch, looked_at, generator)
    noise = _Noise(generator)

    def look(scales: Tensor) -> Profiles:
        shape = (*losses.shape[: losses.batch_dim], *losses.shape[losses.batch_dim + 1 :])
        cotangent = scales.view(*shape, losses.batch).movedim(-1, losses.batch_dim)
        return _profiles(output, cotangent.to(output), looked_at, bottoms, losses.batch, noise)

    try:
        plain = look(tasks.expand(losses.tasks, losses.batch))
    except RuntimeError as error:
        if "donated buffers" not in str(error):
            raise
        raise RuntimeError(donated("A Gramian", "torch refused to keep the graph")) from error
    scaled = [(scaling, look(tasks * scaling.factors)) for scaling in scalings]
    if graph.has_python:
        _refuse_overwritten(plain, look(tasks.expand(losses.tasks, losses.batch)))
    return {
        edge: _layout(
            profiles, [(scaling, after.get(edge, [])) for scaling, after in scaled], losses.batch
        )
        for edge, profiles in plain.items()
    }


def _scalings(batch: int, nodes: Iterable[Node], generator: torch.Generator) -> list[_Scaling]:
    factors = 1 + torch.rand(batch, generator=generator, dtype=torch.float64)
    dtypes = {entry.dtype for node in nodes for entry in node._input_metadata}
    halves = dtypes & {torch.float16, torch.bfloat16}
    if not halves:
        return [_Scaling(factors, _TOLERANCES)]
    # A gradient of a wider dtype may have been rounded on its way.
    least = max(_TOLERANCES[dtype] for dtype in halves)
    loose = {dtype: max(least, tolerance) for dtype, tolerance in _TOLERANCES.items()}
    # None above 1: losses that were scaled to use the range of float16 would overflow.
    exponents = (torch.arange(batch) % 4)[torch.randperm(batch, generator=generator)]
    powers = torch.exp2(-exponents.double())
    return [_Scaling(factors, loose), _Scaling(powers, _TOLERANCES_OF_POWERS)]


def _profiles(
    output: Tensor,
    cotangent: Tensor,
    nodes: Iterable[Node],
    bottoms: Sequence[Node],
    batch: int,
    noise: "_Noise",
) -> Profiles:
    """Pull ``cotangent`` back, and return the profiles of what enters each node."""
    found: Profiles = {}

    def see(node: Node) -> Callable[[tuple[Tensor | None, ...]], None]:
        def hook(grads: tuple[Tensor | None, ...]) -> None:
            for i, grad in enumerate(grads):
                if grad is not None:
                    found[Edge(node, i)] = _profile(grad, batch, noise)

        return hook

    with ExitStack() as stack:
        captured = set(bottoms)
        for node in nodes:
            if node not in captured:
                stack.callback(node.register_prehook(see(node)).remove)
        edges = [GradientEdge(node, i) for node in bottoms for i in range(len(shapes(node)))]
        grads = torch.autograd.grad(output, edges, cotangent, retain_graph=True, allow_unused=True)
    for edge, grad in zip(edges, grads, strict=True):
        if grad is not None:
            found[Edge(edge.node, edge.output_nr)] = _profile(grad, batch, noise)
    return found


def _profile(grad: Tensor, batch: int, noise: "_Noise") -> list[_Profile]:
    """Return the profiles of ``grad`` along each dimension that may run over samples."""
    if grad.layout != torch.strided:
        return []
    profiles = []
    grad = grad.detach()
    wide = grad if grad.dtype == torch.float64 else grad.float()
    mixed, squares = wide * noise.like(wide), wide.square()
    for dim, size in enumerate(grad.shape):
        if size > 0 and size % batch == 0:
            rest = [other for other in range(grad.ndim) if other != dim]
            sketch = mixed.sum(rest) if rest else mixed
            norm = (squares.sum(rest) if rest else squares).sqrt()
            profiles.append(_Profile(dim, sketch.to(grad.dtype), norm))
    return profiles


def _layout(
    plain: Sequence[_Profile], scaled: Sequence[tuple[_Scaling, Sequence[_Profile]]], batch: int
) -> Layout | None:
    for i, before in enumerate(plain):
        rest = before.norm.numel() // batch
        for inner in (False, True) if rest > 1 else (False,):
            if bool(before.norm.any()) and all(
                i < len(after) and _explains(scaling, before, after[i], inner)
                for scaling, after in scaled
            ):
                return Layout(before.dim, inner)
    return None


def _explains(scaling: _Scaling, before: _Profile, after: _Profile, inner: bool) -> bool:
    """Whether a gradient was multiplied by the factors of the samples, along its dimension."""
    rest = before.norm.numel() // len(scaling.factors)
    factors = scaling.factors.repeat(rest) if inner else scaling.factors.repeat_interleave(rest)
    factors = factors.to(before.norm)
    error = (after.sketch - factors * before.sketch).to(before.norm.dtype).abs()
    error += (after.norm - factors * before.norm).abs()
    allowed = scaling.tolerances[before.sketch.dtype] * factors.clamp(max=1.0) * before.norm
    return bool((error <= allowed).all())


def _refuse_overwritten(before: Profiles, after: Profiles) -> None:
    """Refuse a graph that gives another gradient when it is asked again.

    :raises RuntimeError: If a backward pass changed what was saved.
    """
    for edge, profiles in before.items():
        for one, other in zip(profiles, after.get(edge, []), strict=False):
            tolerance = _TOLERANCES[one.sketch.dtype] * one.norm.max()
            changed = (one.sketch - other.sketch).to(one.norm.dtype).abs().max()
            if bool(changed > tolerance or (one.norm - other.norm).abs().max() > tolerance):
                raise RuntimeError(donated("A Gramian", "a second pass found other gradients"))


class _Noise:
    """Random numbers, the same ones whenever they are asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._numbers = torch.empty(0)

    def like(self, tensor: Tensor) -> Tensor:
        """Return as many as ``tensor`` has elements, in its shape, between 1/2 and 3/2."""
        missing = tensor.numel() - self._numbers.numel()
        if missing > 0:
            fresh = 0.5 + torch.rand(missing, generator=self._generator)
            self._numbers = torch.cat([self._numbers, fresh])
        return self._numbers[: tensor.numel()].view(tensor.shape).to(tensor)
