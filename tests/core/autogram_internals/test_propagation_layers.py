"""Where samples sit in reductions, products and layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from .test_propagation import (
    Graph,
    check_everywhere,
    check_proofs,
    inner,
)

INDEX = torch.tensor([[0, 1, 1], [2, 0, 1], [1, 1, 2]])

REDUCTIONS = [
    *[
        graph
        for kind, function in {
            "SumBackward1": torch.sum,
            "MeanBackward1": torch.mean,
            "LogsumexpBackward0": torch.logsumexp,
            "VarBackward0": torch.var,
            "StdBackward0": torch.std,
            "LinalgVectorNormBackward0": lambda x, d, keepdim=False: torch.linalg.vector_norm(
                x, 2, d, keepdim=keepdim
            ),
            "AmaxBackward0": torch.amax,
            "AminBackward0": torch.amin,
            "MaxBackward0": torch.max,
            "MinBackward0": torch.min,
            "MedianBackward1": torch.median,
            "ProdBackward1": torch.prod,
            "NansumBackward0": torch.nansum,
        }.items()
        for graph in (
            Graph(kind, lambda x, f=function: f(x, -1), [(3, 3, 3)], {0: {0: 0}, 1: {0: 1}}),
            Graph(kind, lambda x, f=function: f(x, 0), [(3, 3, 3)], {0: {0: 1}, 1: {0: 2}}),
            Graph(kind, lambda x, f=function: f(x, 1, keepdim=True), [(3, 3, 3)],
                  {0: {0: 0}, 2: {0: 2}}),
        )
    ],
    Graph("SumBackward1", lambda x: x.sum((0, -1)), [(3, 3, 6, 3)],
          {0: {0: 1}, inner(1): {0: inner(2)}}),
    *[
        Graph(kind, function, [(3, 3)], {0: {0: 0}, 1: None})
        for kind, function in {
            "SoftmaxBackward0": lambda x: x.softmax(-1),
            "LogSoftmaxBackward0": lambda x: x.log_softmax(1),
            "CumsumBackward0": lambda x: x.cumsum(-1),
            "CumprodBackward0": lambda x: x.cumprod(1),
            "SortBackward0": lambda x: x.sort(-1),
            "TopkBackward0": lambda x: x.topk(3, -1),
            "GatherBackward0": lambda x: x.gather(1, INDEX),
            "IndexSelectBackward0": lambda x: x.index_select(1, torch.tensor([0, 2, 2])),
            "IndexFillBackward0": lambda x: x.index_fill(1, torch.tensor([1]), 0.0),
            "ScatterBackward1": lambda x: x.scatter(1, INDEX, 0.0),
            "RenormBackward0": lambda x: x.renorm(2, 0, 0.5),
            "FftC2CBackward0": lambda x: torch.fft.fft(torch.complex(x, x), dim=-1),
        }.items()
    ],
    Graph("SoftmaxBackward0", lambda x: x.softmax(0), [(3, 3)], {0: None, 1: {0: 1}}),
    Graph("FftR2CBackward0", torch.fft.rfft2, [(3, 3, 4)], {0: {0: 0}, 1: None}),
    Graph("GluBackward0", lambda x: F.glu(x, 1), [(3, 6)], {0: {0: 0}, 1: None}),
    Graph("GatherBackward0", lambda x: x.gather(1, INDEX), [(4, 3)], {0: None}),
    Graph("ScatterBackward0", lambda x, y: x.scatter(1, INDEX, y), [(3, 3), (3, 3)],
          {0: {0: 0, 1: 0}, 1: None}),
    Graph("ScatterAddBackward0", lambda x, y: x.scatter_add(1, INDEX, y), [(3, 3), (4, 3)],
          {0: None}),
    Graph("ScatterAddBackward0", lambda x, y: x.scatter_add(1, INDEX, y), [(3, 5), (3, 3)],
          {0: {0: 0, 1: 0}}),
    Graph("IndexAddBackward0", lambda x, y: x.index_add(1, torch.tensor([2, 0]), y),
          [(3, 3), (3, 2)], {0: {0: 0, 1: 0}, 1: None}),
    Graph("LinalgCrossBackward0", torch.linalg.cross, [(3, 3), (1, 3)], {0: {0: 0}, 1: None}),
]  # fmt: skip

PRODUCTS = [
    Graph("MmBackward0", torch.mm, [(3, 3), (3, 3)], {0: {0: 0}, 1: {1: 1}}),
    Graph("MmBackward0", torch.mm, [(6, 2), (2, 3)], {inner(0): {0: inner(0)}}),
    Graph("MvBackward0", torch.mv, [(3, 3), (3,)], {0: {0: 0}}),
    Graph("AddmmBackward0", torch.addmm, [(3,), (3, 3), (3, 3)], {0: {1: 0}, 1: {0: 0, 2: 1}}),
    Graph("AddmmBackward0", torch.addmm, [(3, 1), (3, 2), (2, 3)], {0: {0: 0, 1: 0}, 1: {2: 1}}),
    Graph("AddmvBackward0", torch.addmv, [(3,), (3, 2), (2,)], {0: {0: 0, 1: 0}}),
    Graph("BmmBackward0", torch.bmm, [(3, 3, 3), (3, 3, 3)],
          {0: {0: 0, 1: 0}, 1: {0: 1}, 2: {1: 2}}),
    Graph("BaddbmmBackward0", torch.baddbmm, [(3, 1, 3), (3, 3, 2), (3, 2, 3)],
          {0: {0: 0, 1: 0, 2: 0}, 1: {1: 1}, 2: {0: 2, 2: 2}}),
    Graph("AddrBackward0", torch.addr, [(3,), (3,), (3,)], {0: {1: 0}, 1: {0: 0, 2: 0}}),
    Graph("AddbmmBackward0", torch.addbmm, [(3, 3), (3, 3, 3), (3, 3, 3)],
          {0: {0: 0, 1: 1}, 1: {0: 1, 2: 2}}),
    Graph("TrilinearBackward0", lambda x, w, y: F.bilinear(x, y, w), [(3, 3), (3, 3, 3), (3, 3)],
          {0: {0: 0, 2: 0}, 1: {1: 0}}),
    Graph("CdistBackward0", lambda x, y: torch.cdist(x, y, p=3), [(3, 2, 2), (3, 2)],
          {0: {0: 0}, 1: {0: 1}, 2: {1: 0}}),
    Graph("CdistBackward0", lambda x, y: torch.cdist(x, y, p=3), [(3, 3, 2), (3, 3, 2)],
          {0: {0: 0, 1: 0}, 1: {0: 1}, 2: {1: 1}}),
]  # fmt: skip


def norm(training: bool) -> Callable[..., Tensor]:
    """Return a batch norm of three channels."""

    def apply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean, variance = torch.zeros(3).double(), torch.ones(3).double()
        return F.batch_norm(x, mean, variance, weight, bias, training)

    return apply


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


def recurrent(x: Tensor) -> Any:
    # Only this dtype has the node.
    return torch.nn.LSTM(3, 3)(x.float())[0]


POOLS = {
    "MaxPool2DWithIndicesBackward0": lambda x: F.max_pool2d(x, 2, 1),
    "AvgPool2DBackward0": lambda x: F.avg_pool2d(x, 2, 1),
    "AdaptiveAvgPool2DBackward0": lambda x: F.adaptive_avg_pool2d(x, 3),
    "AdaptiveMaxPool2DBackward0": lambda x: F.adaptive_max_pool2d(x, 3),
    "UpsampleBilinear2DBackward0": lambda x: F.interpolate(x, size=6, mode="bilinear"),
    "UpsampleNearest2DBackward0": lambda x: F.interpolate(x, size=6),
}

SAMPLEWISE = [
    *[Graph(kind, function, [(3, 3, 4, 4)], {0: {0: 0}, 1: {0: 1}, 2: None})
      for kind, function in POOLS.items()],
    Graph("ConvolutionBackward0", lambda x, w, b: F.conv1d(x, w, b, padding=1),
          [(3, 3, 3), (3, 3, 3), (3,)], {0: {0: 0}, 1: None, 2: None}),
    Graph("ConvolutionBackward0", lambda x, w, b: F.conv1d(x, w, b, groups=3),
          [(1, 6, 5), (9, 2, 3), (9,)], {1: {0: 1, 1: 0, 2: 0}, inner(1): None}),
    Graph("ConvolutionBackward0", lambda x, w: F.conv_transpose1d(x, w, groups=3),
          [(2, 6, 5), (6, 3, 3)], {1: {0: 1, 1: 0}}),
    Graph("NativeLayerNormBackward0", lambda x, w, b: F.layer_norm(x, (3,), w, b),
          [(3, 3, 3), (3,), (3,)], {0: {0: 0}, 1: {0: 1}, 2: None}),
    Graph("NativeGroupNormBackward0", lambda x, w, b: F.group_norm(x, 3, w, b),
          [(3, 6, 3), (6,), (6,)], {0: {0: 0}, 1: None, 2: None}),
    Graph("NativeBatchNormBackward0", norm(False), [(3, 3, 3), (3,), (3,)],
          {0: {0: 0}, 1: {0: 1, 1: 0, 2: 0}, 2: {0: 2}}),
    Graph("NativeBatchNormBackward0", norm(True), [(3, 3, 3), (3,), (3,)],
          {0: {}, 1: {0: 1, 1: 0, 2: 0}, 2: {}}),
    Graph("NativeBatchNormBackward0", lambda x, w: F.instance_norm(x, None, None, w),
          [(3, 2, 4), (2,)], {1: {0: 1, 1: 0}}),
    Graph("ScaledDotProductFlashAttentionForCpuBackward0", attention, [(3, 3, 3, 3)] * 3,
          {0: {0: 0, 1: 0, 2: 0}, 1: {0: 1, 1: 1, 2: 1}, 2: None, 3: None}),
    Graph("NllLossBackward0", lambda x: F.nll_loss(x, torch.tensor([0, 2, 1]), reduction="none"),
          [(3, 3)], {0: {0: 0}}),
    Graph("NllLoss2DBackward0",
          lambda x: F.nll_loss(x, INDEX[None].expand(3, 3, 3), reduction="none"),
          [(3, 3, 3, 3)], {0: {0: 0}, 1: {0: 2}, 2: {0: 3}}),
    Graph("MultiMarginLossBackward0",
          lambda x: F.multi_margin_loss(x, torch.tensor([0, 2, 1]), reduction="none"),
          [(3, 3)], {0: {0: 0}}),
    Graph("Im2ColBackward0", lambda x: F.unfold(x, 2), [(3, 3, 4, 4)],
          {0: {0: 0}, 1: None, 2: None}),
    Graph("Im2ColBackward0", lambda x: F.unfold(x, 2), [(3, 4, 4)], {0: None}),
    Graph("Col2ImBackward0", lambda x: F.fold(x, 4, 2), [(3, 12, 9)], {0: {0: 0}, 1: None}),
    Graph("EmbeddingBackward0", lambda w: F.embedding(INDEX, w), [(3, 3)], {0: {}}, (0,)),
    Graph("EmbeddingBagBackward0", lambda w: F.embedding_bag(INDEX, w), [(3, 2)], {0: {}}, (0,)),
    Graph("EmbeddingBagBackward0",
          lambda w, s: F.embedding_bag(INDEX, w, per_sample_weights=s, mode="sum"),
          [(3, 2), (3, 3)], {0: None}),
    Graph("MkldnnRnnLayerBackward0", recurrent, [(3, 3, 3)], {0: None, 1: {0: 1}, 2: None}),
    Graph("LinalgInvExBackward0", torch.linalg.inv, [(3, 3, 3)], {0: {0: 0}, 1: None, 2: None}),
    Graph("LinalgSolveExBackward0", torch.linalg.solve, [(3, 3, 3), (3, 3, 3)],
          {0: {0: 0, 1: 0}, 1: None}),
]  # fmt: skip

GRAPHS = [*REDUCTIONS, *PRODUCTS, *SAMPLEWISE]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_proves_what_a_person_would(graph: Graph) -> None:
    check_proofs(graph)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_proves_only_what_the_backward_does(graph: Graph, batch: int) -> None:
    check_everywhere(graph, batch)
