"""Where samples sit in all other nodes: what is proved holds of their backward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from .test_propagation import Graph, check_truth, layouts_at, layouts_of, node_of, positive

aten = torch.ops.aten
INDEX = torch.tensor([[0, 1, 1], [2, 0, 1], [1, 1, 2]])
ROWS = torch.tensor([2, 0, 1])


def unit(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``function`` of numbers between 0.1 and 0.9."""
    return lambda *tensors: function(*[0.8 * tensor.sigmoid() + 0.1 for tensor in tensors])


def twice(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the gradient of ``function``, which can be differentiated again."""

    def gradient(x: Tensor, cotangent: Tensor) -> Tensor:
        y = function(x)
        return torch.autograd.grad(y, x, cotangent.reshape(y.shape), create_graph=True)[0]

    return gradient


def symmetric(x: Tensor) -> Tensor:
    """Return positive definite matrices."""
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


def statistics() -> tuple[Tensor, Tensor]:
    return torch.zeros(3).double(), torch.ones(3).double()


ONE: dict[str, Callable[[Tensor], Any]] = {
    "AngleBackward0": torch.angle,
    "AcosBackward0": unit(torch.acos),
    "AcoshBackward0": lambda x: (x.abs() + 1.1).acosh(),
    "AsinBackward0": unit(torch.asin),
    "AsinhBackward0": torch.asinh,
    "AtanBackward0": torch.atan,
    "AtanhBackward0": unit(torch.atanh),
    "CeilBackward0": torch.ceil,
    "CeluBackward0": F.celu,
    "ClampMinBackward0": lambda x: x.clamp_min(0),
    "ClampMaxBackward0": lambda x: x.clamp_max(0),
    "CoshBackward0": torch.cosh,
    "DigammaBackward0": positive(torch.digamma),
    "DivBackward0": lambda x: x / 3,
    "ErfcBackward0": torch.erfc,
    "ErfinvBackward0": unit(torch.erfinv),
    "Exp2Backward0": torch.exp2,
    "Expm1Backward0": torch.expm1,
    "FillBackward0": lambda x: torch.fill(x, 2.0),
    "FillBackward2": lambda x: x.fill_(2.0),
    "FmodBackward0": lambda x: x.fmod(0.5),
    "FracBackward0": torch.frac,
    "HardshrinkBackward0": F.hardshrink,
    "HardsigmoidBackward0": F.hardsigmoid,
    "I0Backward0": torch.i0,
    "LgammaBackward0": positive(torch.lgamma),
    "Log10Backward0": positive(torch.log10),
    "Log1PBackward0": positive(torch.log1p),
    "Log2Backward0": positive(torch.log2),
    "LogitBackward0": unit(torch.logit),
    "MishBackward0": F.mish,
    "MulBackward0": lambda x: x * 3,
    "NanToNumBackward0": torch.nan_to_num,
    "PolygammaBackward0": positive(lambda x: torch.polygamma(1, x)),
    "PowBackward2": lambda x: 2.0**x,
    "ReciprocalBackward0": torch.reciprocal,
    "RemainderBackward0": lambda x: x.remainder(0.5),
    "RoundBackward0": torch.round,
    "RsubBackward1": lambda x: torch.rsub(x, 1.0),
    "SgnBackward0": torch.sgn,
    "SignBackward0": torch.sign,
    "SinBackward0": torch.sin,
    "SincBackward0": torch.sinc,
    "SinhBackward0": torch.sinh,
    "SoftshrinkBackward0": F.softshrink,
    "SpecialEntrBackward0": unit(torch.special.entr),
    "SpecialI1Backward0": torch.special.i1,
    "SpecialLogNdtrBackward0": torch.special.log_ndtr,
    "SpecialNdtriBackward0": unit(torch.special.ndtri),
    "TanBackward0": torch.tan,
    "TriuBackward0": torch.triu,
    "ZeroBackward0": lambda x: x.zero_(),
    "FakeQuantizePerTensorAffineCachemaskBackward0": lambda x: (
        torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, -128, 127)
    ),
    "CummaxBackward0": lambda x: x.cummax(1),
    "CumminBackward0": lambda x: x.cummin(1),
    "KthvalueBackward0": lambda x: x.kthvalue(2, 1),
    "LogcumsumexpBackward0": lambda x: x.logcumsumexp(1),
    "ModeBackward0": lambda x: x.mode(1),
    "NanmedianBackward1": lambda x: x.nanmedian(1),
    "SafeSoftmaxBackward0": lambda x: aten._safe_softmax(x, 1),
    "FftC2RBackward0": lambda x: torch.fft.irfft(torch.complex(x, x), dim=-1),
    "NormBackward1": lambda x: aten.norm(x, 3, [1]),
    "UnsqueezeBackward1": lambda x: x.clone().unsqueeze_(1),
    "SqueezeBackward4": lambda x: (x * 1)[:, :1].clone().squeeze_(1),
    "TBackward1": lambda x: x.clone().t_(),
    "TransposeBackward1": lambda x: x.clone().transpose_(0, 1),
    "NarrowCopyBackward0": lambda x: aten.narrow_copy(x, 1, 0, 2),
    "SoftMarginLossBackward0": lambda x: F.soft_margin_loss(x, x.detach().sign(), reduction="none"),
    "MultilabelMarginLossBackward0": lambda x: F.multilabel_margin_loss(
        x, INDEX - 1, reduction="none"
    ),
    "BinaryCrossEntropyWithLogitsBackward0": lambda x: F.binary_cross_entropy_with_logits(
        x, x.detach().sigmoid(), reduction="none"
    ),
}

TWO: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "AddcdivBackward0": lambda x, y: torch.addcdiv(x, y, y * 2),
    "ClampBackward0": lambda x, y: x.clamp(y, y + 1),
    "ClampMaxBackward1": lambda x, y: x.clamp_max(y),
    "ClampMinBackward1": lambda x, y: x.clamp_min(y),
    "ComplexBackward0": torch.complex,
    "CopysignBackward0": torch.copysign,
    "DivBackward2": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "FillBackward1": lambda x, y: torch.fill(x, y.sum()),
    "FillBackward3": lambda x, y: x.fill_(y.sum()),
    "FmaxBackward0": torch.fmax,
    "FminBackward0": torch.fmin,
    "FmodBackward1": torch.fmod,
    "HuberLossBackward0": lambda x, y: F.huber_loss(x, y.expand_as(x), reduction="none"),
    "LdexpBackward0": torch.ldexp,
    "Logaddexp2Backward0": torch.logaddexp2,
    "MaskedFillBackward1": lambda x, y: x.masked_fill(INDEX > 0, y.sum()),
    "MinimumBackward0": torch.minimum,
    "PolarBackward0": positive(torch.polar),
    "PowBackward1": positive(torch.pow),
    "RemainderBackward1": torch.remainder,
    "RsubBackward0": torch.rsub,
    "SmoothL1LossBackward0": lambda x, y: F.smooth_l1_loss(x, y.expand_as(x), reduction="none"),
    "SpecialXlog1PyBackward0": positive(torch.special.xlog1py),
    "XlogyBackward0": positive(torch.xlogy),
    "IndexCopyBackward0": lambda x, y: x.index_copy(1, ROWS, y.expand_as(x)),
    "IndexFillBackward1": lambda x, y: x.index_fill(1, ROWS[:1], y.sum()),
    "ScatterReduceBackward0": lambda x, y: x.scatter_reduce(1, INDEX, y.expand_as(x), "amax"),
    "SliceScatterBackward0": lambda x, y: x.slice_scatter(y.expand_as(x)[:, :2], 1, 0, 2),
}

# The gradients of their other tensors are zero, or nearly everywhere.
FLAT = ("ClampBackward0", "CopysignBackward0", "DivBackward2")

AGAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "EluBackwardBackward0": F.elu,
    "GeluBackwardBackward0": F.gelu,
    "HardshrinkBackwardBackward0": F.hardshrink,
    "HardswishBackwardBackward0": F.hardswish,
    "HardtanhBackwardBackward0": F.hardtanh,
    "LeakyReluBackwardBackward0": F.leaky_relu,
    "LogSigmoidBackwardBackward0": F.logsigmoid,
    "LogSoftmaxBackwardDataBackward0": lambda x: x.log_softmax(-1),
    "SelectBackwardBackward0": lambda x: x.expand(3, 3, 3).select(1, 0),
    "SigmoidBackwardBackward0": torch.sigmoid,
    "SliceBackwardBackward0": lambda x: torch.cat([x, x], 1)[:, 1:4],
    "SoftmaxBackwardDataBackward0": lambda x: x.softmax(-1),
    "SoftplusBackwardBackward0": F.softplus,
    "SoftshrinkBackwardBackward0": F.softshrink,
    "TanhBackwardBackward0": torch.tanh,
    "ThresholdBackwardBackward0": torch.relu,
}

PLANE = (3, 3, 4, 4)
VOLUME = (3, 3, 4, 4, 4)
LAYERS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "AdaptiveAvgPool3DBackward0": (lambda x: F.adaptive_avg_pool3d(x, 3), [VOLUME]),
    "AdaptiveMaxPool3DBackward0": (lambda x: F.adaptive_max_pool3d(x, 3), [VOLUME]),
    "AvgPool3DBackward0": (lambda x: F.avg_pool3d(x, 2), [VOLUME]),
    "MaxPool3DWithIndicesBackward0": (lambda x: F.max_pool3d(x, 2), [VOLUME]),
    "FractionalMaxPool2DBackward0": (
        lambda x: F.fractional_max_pool2d(x, 2, output_size=3),
        [PLANE],
    ),
    "FractionalMaxPool3DBackward0": (
        lambda x: F.fractional_max_pool3d(x, 2, output_size=2),
        [VOLUME],
    ),
    "MaxUnpool2DBackward0": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]),
        [PLANE],
    ),
    "MaxUnpool3DBackward0": (
        lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), [2, 2, 2]),
        [VOLUME],
    ),
    "ReflectionPad2DBackward0": (lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), [PLANE]),
    "ReflectionPad3DBackward0": (lambda x: F.pad(x, (1,) * 6, "reflect"), [VOLUME]),
    "ReplicationPad1DBackward0": (lambda x: F.pad(x, (1, 1), "replicate"), [(3, 3, 4)]),
    "ReplicationPad2DBackward0": (lambda x: F.pad(x, (1, 1, 1, 1), "replicate"), [PLANE]),
    "ReplicationPad3DBackward0": (lambda x: F.pad(x, (1,) * 6, "replicate"), [VOLUME]),
    **{
        f"Upsample{kind}Backward0": (
            lambda x, mode=mode, smooth=smooth: F.interpolate(
                x, size=3, mode=mode, antialias=smooth
            ),
            [shape],
        )
        for kind, mode, smooth, shape in (
            ("Linear1D", "linear", False, (3, 3, 4)),
            ("Nearest1D", "nearest", False, (3, 3, 4)),
            ("NearestExact1D", "nearest-exact", False, (3, 3, 4)),
            ("NearestExact2D", "nearest-exact", False, PLANE),
            ("Bicubic2D", "bicubic", False, PLANE),
            ("Bicubic2DAa", "bicubic", True, PLANE),
            ("Bilinear2DAa", "bilinear", True, PLANE),
            ("Nearest3D", "nearest", False, VOLUME),
            ("NearestExact3D", "nearest-exact", False, VOLUME),
            ("Trilinear3D", "trilinear", False, VOLUME),
        )
    },
    "PixelUnshuffleBackward0": (lambda x: F.pixel_unshuffle(x, 2), [PLANE]),
    "ChannelShuffleBackward0": (lambda x: aten.channel_shuffle(x, 3), [(3, 6, 3)]),
    "LinalgCholeskyExBackward0": (lambda x: torch.linalg.cholesky(symmetric(x)), [(3, 3, 3)]),
    "LinalgDetBackward0": (torch.linalg.det, [(3, 3, 3)]),
    "LinalgMatrixExpBackward0": (torch.linalg.matrix_exp, [(3, 3, 3)]),
    "LinalgPinvBackward0": (torch.linalg.pinv, [(3, 3, 3)]),
    "LinalgQrBackward0": (torch.linalg.qr, [(3, 3, 3)]),
    "LinalgSvdBackward0": (torch.linalg.svdvals, [(3, 3, 3)]),
    "LinalgSolveTriangularBackward0": (
        lambda a, b: torch.linalg.solve_triangular(symmetric(a), b, upper=True),
        [(3, 3, 3), (3, 3, 3)],
    ),
    "ReshapeAliasBackward0": (lambda x: x.mT.reshape(3, 1, 3, 3), [(3, 3, 3)]),
    "EuclideanDistBackward0": (
        lambda x, y: torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"),
        [(3, 2), (3, 2)],
    ),
    "NativeBatchNormLegitBackward0": (
        lambda x, w, b: aten._native_batch_norm_legit(x, w, b, *statistics(), False, 0.1, 1e-5),
        [(3, 3, 3), (3,), (3,)],
    ),
    "NativeBatchNormLegitBackward1": (
        lambda x, w, b: aten._native_batch_norm_legit(x, w, b, True, 0.1, 1e-5),
        [(3, 3, 3), (3,), (3,)],
    ),
    "NativeBatchNormLegitNoTrainingBackward0": (
        lambda x, w, b: aten._native_batch_norm_legit_no_training(
            x, w, b, *statistics(), 0.1, 1e-5
        ),
        [(3, 3, 3), (3,), (3,)],
    ),
    "BatchNormNoUpdateBackward0": (
        lambda x, w, b: aten._batch_norm_no_update(x, w, b, *statistics(), 0.1, 1e-5),
        [(3, 3, 3), (3,), (3,)],
    ),
    "BatchNormWithUpdateBackward0": (
        lambda x, w, b: aten._batch_norm_with_update(x, w, b, *statistics(), 0.1, 1e-5),
        [(3, 3, 3), (3,), (3,)],
    ),
}

GRAPHS = [
    *[Graph(kind, function, [(3, 3)], {}) for kind, function in ONE.items()],
    *[
        Graph(kind, function, [(3, 3), shape], {}, (1, 2) if kind in FLAT else ())
        for kind, function in TWO.items()
        for shape in ((3, 3), (3, 1))
    ],
    *[Graph(kind, twice(function), [(3, 3), (3, 3)], {}) for kind, function in AGAIN.items()],
    *[Graph(kind, function, shapes, {}) for kind, (function, shapes) in LAYERS.items()],
]

# The lowest release of torch does not have this kind of node yet.
if "NarrowCopyBackward0" not in dir(torch._C._functions):
    GRAPHS = [graph for graph in GRAPHS if graph.kind != "NarrowCopyBackward0"]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_proves_only_what_the_backward_does_and_something(graph: Graph) -> None:
    node = node_of(graph)
    proved = False
    for batch in (1, 3):
        for layout in layouts_of(node._input_metadata[0].shape, batch):
            proved |= (
                check_truth(node, layouts_at(node, layout), batch, graph.parameters) and batch > 1
            )
    assert proved
