"""Where samples sit: what is proved of a node holds of its backward, and much is proved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import Node

from torchjd.autogram._layout import Layout
from torchjd.autogram._propagation import propagate

BATCH = 3


@dataclass
class Graph:
    """A graph with one node to look at.

    :ivar kind: The name of the node.
    :ivar build: From random tensors to the outputs.
    :ivar shapes: The shapes of the random tensors.
    :ivar proofs: From the dimension of the samples in the output to what must be proved: the
        dimensions of the samples in the inputs, or None.
    :ivar parameters: Inputs that are parameters, which may be left out whatever they sum over.
    """

    kind: str
    build: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    proofs: Mapping[int | Layout, Mapping[int, int | Layout] | None]
    parameters: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}-{'-'.join('x'.join(map(str, shape)) for shape in self.shapes)}"


def nodes(start: Node) -> Iterator[Node]:
    """Yield all nodes of a graph."""
    seen, found = set(), [start]
    while found:
        node = found.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        found += [source for source, _ in node.next_functions if source is not None]


def node_of(graph: Graph) -> Node:
    """Return the node of ``graph`` to look at."""
    torch.manual_seed(0)
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in graph.shapes]
    # Leaves would be changed by operations that work in place.
    outputs = graph.build(*[leaf.clone() for leaf in leaves])
    output: Any = outputs if isinstance(outputs, Tensor) else outputs[0]
    return next(node for node in nodes(output.grad_fn) if type(node).__name__ == graph.kind)


def samples(layout: Layout, shape: Sequence[int], batch: int) -> Tensor:
    """Return which sample each element of a tensor belongs to."""
    size = shape[layout.dim]
    along = torch.arange(size)
    along = along % batch if layout.inner else along // (size // batch)
    behind = [1] * (len(shape) - layout.dim - 1)
    return along.reshape(-1, *behind).expand(shape)


def reached(node: Any, layouts: Sequence[Layout | None], batch: int) -> dict[int, Tensor]:
    """Return which elements of each input the gradient of each sample reaches."""
    shapes = [tuple(entry.shape) for entry in node._input_metadata]
    found: dict[int, list[Tensor]] = {}
    for sample in range(batch):
        # In double, and of the dtype of the output: some outputs are complex.
        cotangents = [
            None
            if layout is None
            else torch.randn(shape, dtype=entry.dtype) * (samples(layout, shape, batch) == sample)
            for layout, shape, entry in zip(layouts, shapes, node._input_metadata, strict=True)
        ]
        gradients = node(*cotangents)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for index, (source, number) in enumerate(node.next_functions):
            if source is None:
                continue
            shape = tuple(source._input_metadata[number].shape)
            gradient = gradients[index]
            gradient = torch.zeros(shape) if gradient is None else gradient.sum_to_size(shape)
            found.setdefault(index, []).append(gradient != 0)
    return {index: torch.stack(masks) for index, masks in found.items()}


def layouts_of(shape: Sequence[int], batch: int) -> Iterator[Layout]:
    """Yield all places where samples may sit in a tensor."""
    for dim, size in enumerate(shape):
        if size and size % batch == 0:
            yield Layout(dim)
            if size > batch:
                yield Layout(dim, inner=True)


def check_truth(
    node: Node,
    layouts: Sequence[Layout | None],
    batch: int,
    parameters: Sequence[int] = (),
) -> bool:
    """Check what is proved of ``node`` against its backward, and return whether anything is."""
    proved = propagate(node, layouts, batch)
    if proved is None:
        return False
    places = reached(node, layouts, batch)
    assert proved.keys() <= places.keys()
    for index, masks in places.items():
        source, number = node.next_functions[index]
        assert source is not None
        shape = tuple(source._input_metadata[number].shape)
        if index in proved:
            layout = proved[index]
            assert layout.inner is False or shape[layout.dim] > batch
            owners = samples(layout, shape, batch)
            for sample, mask in enumerate(masks):
                assert (owners[mask] == sample).all(), (index, layout)
        else:
            mixed = (masks.sum(0) > 1).any()
            assert mixed or index in parameters or batch == 1, index
    return True


def at(place: int | Layout) -> Layout:
    return place if isinstance(place, Layout) else Layout(place)


def outer(dim: int) -> Layout:
    return Layout(dim)


def inner(dim: int) -> Layout:
    return Layout(dim, inner=True)


def one(function: Callable[..., Any], kind: str) -> Graph:
    """Return a graph of a function of one tensor that treats elements apart."""
    return Graph(kind, function, [(3, 6)], {0: {0: 0}, 1: {0: 1}, inner(1): {0: inner(1)}})


def positive(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *tensors: function(*[tensor.abs() + 0.1 for tensor in tensors])


ONE: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Alias": torch.ops.aten.alias,
    "Clone": torch.clone,
    "Cos": torch.cos,
    "Elu": F.elu,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Gelu": F.gelu,
    "Hardswish": F.hardswish,
    "Hardtanh": F.hardtanh,
    "LeakyRelu": F.leaky_relu,
    "LogSigmoid": F.logsigmoid,
    "NativeDropout": lambda x: torch.native_dropout(x, 0.5, True),
    "Neg": torch.neg,
    "Pow": lambda x: x**2,
    "Relu": torch.relu,
    "RreluWithNoise": lambda x: F.rrelu(x, training=True),
    "Sigmoid": torch.sigmoid,
    "Silu": F.silu,
    "Softplus": F.softplus,
    "Tanh": torch.tanh,
    "Threshold": lambda x: F.threshold(x, 0.1, 0.0),
    "ToCopy": lambda x: x.float(),
    "Tril": torch.tril,
    "Log": positive(torch.log),
    "Rsqrt": positive(torch.rsqrt),
    "Sqrt": positive(torch.sqrt),
}

TWO: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Atan2": torch.atan2,
    "Maximum": torch.maximum,
    "Where": lambda x, y: torch.where(torch.rand(3, 3) > 0.5, x, y),
    "Hypot": torch.hypot,
    "Logaddexp": torch.logaddexp,
    "Lerp": lambda x, y: torch.lerp(x, y, 0.3),
}

ELEMENTWISE = [
    *[
        one(function, f"{name}Backward0")
        for name, function in ONE.items()
    ],
    one(lambda x: x + 1, "AddBackward0"),
    one(lambda x: x.clamp(-1, 1), "ClampBackward1"),
    *[
        Graph(
            f"{name}Backward0",
            function,
            shapes,
            {0: places},
        )
        for name, function in TWO.items()
        for shapes, places in (
            ([(3, 3), (3, 3)], {0: 0, 1: 0}),
            ([(3, 3), (3,)], {0: 0}),
            ([(3, 1), (3,)], {0: 0}),
            ([(1, 3), (3, 1)], {1: 0}),
            ([(), (3, 3)], {1: 0}),
        )
    ],
    Graph("AddBackward0", torch.add, [(3, 3), (3,)], {1: {0: 1, 1: 0}}),
    Graph("MulBackward0", torch.mul, [(2, 6), (6,)], {inner(1): {0: inner(1), 1: inner(0)}}),
    Graph("AddcmulBackward0", torch.addcmul, [(3,), (3, 3), (3, 1)], {0: {1: 0, 2: 0}}),
    Graph("LerpBackward1", torch.lerp, [(3, 2), (3, 2), (3, 1)], {0: {0: 0, 1: 0, 2: 0}}),
    Graph("MseLossBackward0", lambda x, y: F.mse_loss(x, y, reduction="none"), [(3, 3), (3, 3)],
          {0: {0: 0, 1: 0}}),
    Graph("MaskedFillBackward0", lambda x: x.masked_fill(torch.rand(3, 3) > 0.5, 0.0), [(3,)],
          {0: {}, 1: {0: 0}}),
    Graph("PreluKernelBackward0", F.prelu, [(3, 3, 2), (3,)], {0: {0: 0}, 1: {0: 1, 1: 1}}),
    Graph("ExpandBackward0", lambda x: x.expand(3, -1, 2), [(3, 1)], {0: {}, 1: {0: 0}}),
    Graph("ExpandBackward0", lambda x: x.expand(3, 4), [(1, 4)], {0: {}}),
    Graph("CopyBackwards", lambda x, y: x.copy_(y), [(3, 3), (3,)], {0: {0: 0}, 1: {0: 1, 1: 0}}),
    Graph("BinaryCrossEntropyBackward0",
          lambda x: F.binary_cross_entropy(x.sigmoid(), x.detach().abs() / 9, reduction="none"),
          [(3, 2)], {0: {0: 0}}),
]  # fmt: skip

VIEWS = [
    Graph("ViewBackward0", lambda x: x.view(3, -1), [(3, 3, 2)],
          {0: {0: 0}, outer(1): {0: 1}, inner(1): None}),
    Graph("ViewBackward0", lambda x: x.view(3, 3, 4), [(9, 4)], {0: {0: 0}, 1: {0: inner(0)}}),
    Graph("ViewBackward0", lambda x: x.view(9, 4), [(3, 3, 4)],
          {0: {0: 0}, inner(0): {0: 1}}),
    Graph("ViewBackward0", lambda x: x.view(2, 3, 2, 1, 4), [(12, 1, 4)], {1: None}),
    Graph("ViewBackward0", lambda x: x.view(3, 4), [(12,)], {0: {0: 0}}),
    Graph("ViewBackward0", lambda x: x.view(1, 3, 1, 4), [(3, 1, 4, 1)], {1: {0: 0}}),
    Graph("ViewBackward0", lambda x: x.view(4, 3), [(3, 4)], {1: None}),
    Graph("UnsafeViewBackward0", lambda x: (x @ torch.ones(2, 2).double()), [(3, 5, 2)],
          {0: {0: 0}}),
    Graph("TBackward0", lambda x: x.t(), [(3, 3)], {0: {0: 1}, 1: {0: 0}}),
    Graph("TransposeBackward0", lambda x: x.transpose(-1, 0), [(3, 3, 3)],
          {0: {0: 2}, 1: {0: 1}, 2: {0: 0}}),
    Graph("PermuteBackward0", lambda x: x.permute(-1, 0, 1), [(3, 3, 6)],
          {0: {0: 2}, inner(0): {0: inner(2)}, 1: {0: 0}, 2: {0: 1}}),
    Graph("UnsqueezeBackward0", lambda x: x.unsqueeze(-1), [(3, 3)], {0: {0: 0}, 1: {0: 1}}),
    Graph("UnsqueezeBackward0", lambda x: x.unsqueeze(0), [(3, 3)], {1: {0: 0}, 2: {0: 1}}),
    Graph("SqueezeBackward0", lambda x: x.squeeze(), [(1, 3, 1, 3)], {0: {0: 1}, 1: {0: 3}}),
    Graph("SqueezeBackward1", lambda x: x.squeeze(-2), [(3, 1, 3)], {0: {0: 0}, 1: {0: 2}}),
    Graph("SqueezeBackward2", lambda x: x.squeeze((0, -2)), [(1, 3, 1, 3)], {0: {0: 1}, 1: {0: 3}}),
    Graph("SelectBackward0", lambda x: x.select(-2, -1), [(3, 3, 3)], {0: {0: 0}, 1: {0: 2}}),
    Graph("SelectBackward0", lambda x: x[0], [(3, 3, 3)], {0: {0: 1}, 1: {0: 2}}),
    Graph("SliceBackward0", lambda x: x[:, 1:], [(3, 4)], {0: {0: 0}, 1: None}),
    Graph("SliceBackward0", lambda x: x[:3], [(4, 3)], {0: None, 1: {0: 1}}),
    Graph("SliceBackward0", lambda x: torch.ops.aten.slice(x, 0, 0, 3), [(3, 4)], {0: {0: 0}}),
    Graph("CatBackward0", lambda x, y: torch.cat([x, y], -1), [(3, 1), (3, 2)],
          {0: {0: 0, 1: 0}, 1: None}),
    Graph("StackBackward0", lambda x, y, z: torch.stack([x, y, z], -1), [(3, 3)] * 3,
          {0: {0: 0, 1: 0, 2: 0}, 2: None}),
    Graph("StackBackward0", lambda x, y, z: torch.stack([x, y, z]), [(3, 3)] * 3,
          {0: None, 1: {0: 0, 1: 0, 2: 0}}),
    Graph("UnfoldBackward0", lambda x: x.unfold(1, 3, 1), [(3, 5, 3)],
          {0: {0: 0}, 1: None, 2: {0: 2}, 3: None}),
    Graph("FlipBackward0", lambda x: x.flip(-1), [(3, 3)], {0: {0: 0}, 1: None}),
    Graph("RollBackward0", lambda x: x.roll(1, -1), [(3, 3)], {0: {0: 0}, 1: None}),
    Graph("RollBackward0", lambda x: x.roll(1), [(3, 3)], {0: None, 1: None}),
    Graph("Rot90Backward0", lambda x: x.rot90(1, (0, 1)), [(3, 3, 3)], {0: None, 2: {0: 2}}),
    Graph("ConstantPadNdBackward0", lambda x: F.pad(x, (1, 1)), [(3, 4)], {0: {0: 0}, 1: None}),
    Graph("ConstantPadNdBackward0", lambda x: F.pad(x, (0, 0, 1, -1)), [(3, 3)],
          {0: None, 1: {0: 1}}),
    Graph("ReflectionPad1DBackward0", lambda x: F.pad(x, (1, 1), mode="reflect"), [(3, 3, 4)],
          {0: {0: 0}, 1: {0: 1}, 2: None}),
    Graph("RepeatBackward0", lambda x: x.repeat(1, 3), [(3, 3)],
          {0: {0: 0}, inner(1): {0: 1}, outer(1): {}}),
    Graph("RepeatBackward0", lambda x: x.repeat(3, 1, 2), [(1, 3)], {0: {}, inner(2): {0: 1}}),
    Graph("RepeatBackward0", lambda x: x.repeat(3), [(5,)], {0: {}}),
    Graph("RepeatBackward0", lambda x: x.repeat(3), [(6,)], {inner(0): {0: inner(0)}}),
    Graph("DiagonalBackward0", lambda x: x.diagonal(0, 0, -1), [(3, 3, 3)], {0: {0: 1}, 1: None}),
    Graph("PixelShuffleBackward0", lambda x: F.pixel_shuffle(x, 3), [(3, 9, 3, 3)],
          {0: {0: 0}, 1: None, 2: None}),
    Graph("ViewAsComplexBackward0", torch.view_as_complex, [(3, 3, 2)], {0: {0: 0}, 1: {0: 1}}),
    Graph("ViewAsRealBackward0", lambda x, y: torch.view_as_real(torch.complex(x, y)),
          [(3, 3), (3, 3)], {0: {0: 0}, 1: {0: 1}}),
]  # fmt: skip

GRAPHS = [*ELEMENTWISE, *VIEWS]


def layouts_at(node: Node, layout: Layout) -> list[Layout | None]:
    """Return the layouts of all outputs where the first has ``layout`` and others no cotangent."""
    return [layout] + [None] * (len(node._input_metadata) - 1)


def check_proofs(graph: Graph) -> None:
    """Check that what a person would prove of ``graph`` is proved, and no more."""
    node = node_of(graph)
    for place, expected in graph.proofs.items():
        proved = propagate(node, layouts_at(node, at(place)), BATCH)
        if expected is None:
            assert proved is None, place
        else:
            assert proved == {index: at(inside) for index, inside in expected.items()}, place


def check_everywhere(graph: Graph, batch: int) -> None:
    """Check what is proved, wherever samples sit in the output, against the backward."""
    node = node_of(graph)
    for layout in layouts_of(node._input_metadata[0].shape, batch):
        check_truth(node, layouts_at(node, layout), batch, graph.parameters)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_proves_what_a_person_would(graph: Graph) -> None:
    check_proofs(graph)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_proves_only_what_the_backward_does(graph: Graph, batch: int) -> None:
    check_everywhere(graph, batch)


def shapes_of(elements: int, dims: int) -> Iterator[tuple[int, ...]]:
    """Yield all shapes of so many elements and dimensions."""
    if dims == 0:
        if elements == 1:
            yield ()
        return
    for size in range(1, elements + 1):
        if elements % size == 0:
            for rest in shapes_of(elements // size, dims - 1):
                yield (size, *rest)


SHAPES = [shape for dims in range(1, 5) for shape in shapes_of(12, dims)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [2, 3, 4])
def test_finds_the_samples_of_every_view_if_there_is_a_place(
    shape: tuple[int, ...], batch: int
) -> None:
    for entering in SHAPES:
        node = torch.zeros(entering, requires_grad=True).view(shape).grad_fn
        assert node is not None
        for layout in layouts_of(shape, batch):
            owners = samples(layout, shape, batch).reshape(entering)
            places = [
                place
                for place in layouts_of(entering, batch)
                if samples(place, entering, batch).equal(owners)
            ]
            proved = propagate(node, [layout], batch)
            assert ([] if proved is None else [proved[0]]) == places, (entering, layout)
