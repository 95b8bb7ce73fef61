"""Layers that treat samples, and often channels too, apart."""

from torchjd.autogram._layout import Layout

from ._node import (
    Found,
    Joint,
    Rule,
    Saver,
    alike,
    at,
    input_shape,
    input_shapes,
    named,
    output_shape,
    present,
)
from ._views import before


def _convolution(node: Saver, layout: Layout, batch: int) -> Found:
    """Convolve a batch, or one sample whose groups of channels are the samples."""
    if layout.dim == 0:
        return present(node, {0: layout})
    if layout.dim == 1 and not layout.inner and node._saved_groups % batch == 0:
        # Each sample has whole groups, and with them its own part of the weight.
        return present(node, {0: layout, 1: at(0, False), 2: at(0, False)})
    return None


def _layer_norm(node: Saver, layout: Layout, _batch: int) -> Found:
    """Normalize the last dimensions."""
    normalized = len(node._saved_normalized_shape)
    if layout.dim >= len(output_shape(node)) - normalized:
        return None
    return present(node, {0: layout})


def _first(node: Saver, layout: Layout, _batch: int) -> Found:
    """Keep apart what the first dimension holds."""
    return present(node, {0: layout}) if layout.dim == 0 else None


def _normalized(node: Saver, layout: Layout) -> Found:
    """Normalize each channel with its own numbers, which samples share in other dimensions."""
    if layout.dim == 1:
        # An instance norm: the samples are channels, and weights are repeated for them.
        return present(node, {0: layout, 1: at(0, layout.inner), 2: at(0, layout.inner)})
    return present(node, {0: layout})


def _channels(node: Saver, layout: Layout, _batch: int) -> Found:
    """Normalize by the numbers of the batch, so that a channel mixes its samples."""
    return _normalized(node, layout) if layout.dim == 1 else {}


def _running(node: Saver, layout: Layout, _batch: int) -> Found:
    """Normalize by running numbers."""
    return _normalized(node, layout)


def _batch_norm(node: Saver, layout: Layout, batch: int) -> Found:
    """Normalize by the numbers of the batch in training, and by running ones else."""
    training = node._saved_training is not False
    return _channels(node, layout, batch) if training else _running(node, layout, batch)


def _attention(node: Saver, layout: Layout, _batch: int) -> Found:
    """Attend within each sample and each head, with a mask that may be broadcast."""
    dim = layout.dim
    if dim > 1:
        return None
    shape = output_shape(node)
    found = {}
    for index, entering in input_shapes(node):
        aligned = dim - len(shape) + len(entering)
        if aligned >= 0 and entering[aligned] == shape[dim]:
            found[index] = at(aligned, layout.inner)
        elif index < 3 or (aligned >= 0 and entering[aligned] != 1):
            # Heads may share keys and values, in some order; a mask sums over what it lacks.
            return None
    return found


def _classes(node: Saver, layout: Layout, _batch: int) -> Found:
    """Choose one class of each position; classes are the second dimension of the input."""
    if node._saved_reduction != 0:
        return None
    return {0: at(layout.dim + (layout.dim > 0), layout.inner)}


def _margins(node: Saver, layout: Layout, _batch: int) -> Found:
    """Compare the classes, which are the last dimension of the input."""
    return {0: layout} if node._saved_reduction == 0 else None


def _columns(node: Saver, layout: Layout, _batch: int) -> Found:
    """Turn patches of a batch into columns, or back."""
    entering = input_shape(node, 0)
    batched = entering is not None and len(entering) + len(output_shape(node)) == 7
    return {0: layout} if batched and layout.dim == 0 else None


def _lookup(_node: Saver, _layout: Layout, _batch: int) -> Found:
    """Choose rows of a weight, whose gradient sums over all positions."""
    return {}


def _bags(node: Saver, _layout: Layout, _batch: int) -> Found:
    """Add chosen rows of a weight; which bag a weight of its own belongs to, values tell."""
    return {} if input_shape(node, 1) is None else None


def _matrices(node: Saver, layout: Layout, _batch: int) -> Found:
    """Apply a function to each matrix of a stack, as its last two dimensions are."""
    entering = input_shape(node, 0)
    return {0: layout} if entering is not None and layout.dim < len(entering) - 2 else None


def _solved(node: Saver, layout: Layout, _batch: int) -> Found:
    """Solve an equation for each matrix of a stack, of which either side may be broadcast."""
    shape = output_shape(node)
    if layout.dim >= len(shape) - 2:
        return None
    found = {}
    for index, entering in input_shapes(node):
        if len(entering) != len(shape):
            return None
        if entering[layout.dim] == shape[layout.dim]:
            found[index] = layout
        elif entering[layout.dim] != 1:
            return None
    return found


_LINES = """
ReflectionPad1D0 ReplicationPad1D0 UpsampleLinear1D0 UpsampleNearest1D0 UpsampleNearestExact1D0
"""
_PLANES = """
AdaptiveAvgPool2D0 AdaptiveMaxPool2D0 AvgPool2D0 FractionalMaxPool2D0 MaxPool2D0
MaxPool2DWithIndices0 MaxUnpool2D0 ReflectionPad2D0 ReplicationPad2D0 UpsampleBicubic2D0
UpsampleBicubic2DAa0 UpsampleBilinear2D0 UpsampleBilinear2DAa0 UpsampleLanczos2DAa0
UpsampleNearest2D0 UpsampleNearestExact2D0
"""
_VOLUMES = """
AdaptiveAvgPool3D0 AdaptiveMaxPool3D0 AvgPool3D0 FractionalMaxPool3D0 MaxPool3DWithIndices0
MaxUnpool3D0 ReflectionPad3D0 ReplicationPad3D0 UpsampleNearest3D0 UpsampleNearestExact3D0
UpsampleTrilinear3D0
"""
_ATTENTIONS = """
ScaledDotProductCudnnAttention0 ScaledDotProductEfficientAttention0 ScaledDotProductFlashAttention0
ScaledDotProductFlashAttentionForCpu0 ScaledDotProductFusedAttentionOverrideable0
"""
_STACKS = "Cholesky0 LinalgCholeskyEx0 LinalgDet0 LinalgInvEx0 LinalgMatrixExp0 LinalgPinv0"

RULES: dict[str, Rule] = {
    **named(_LINES, before(1)),
    **named(_PLANES, before(2)),
    **named(_VOLUMES, before(3)),
    **named(_ATTENTIONS, _attention),
    **named(_STACKS, _matrices),
    **named("LinalgSolveEx0 LinalgSolveTriangular0", _solved),
    **named("Convolution0 ConvolutionOverrideable0", _convolution),
    **named("NativeLayerNorm0 FusedRmsNorm0", _layer_norm),
    **named("NativeGroupNorm0 ChannelShuffle0", _first),
    **named("NativeBatchNorm0 NativeBatchNormLegit0 CudnnBatchNorm0 MiopenBatchNorm0", _batch_norm),
    **named("BatchNormNoUpdate0 NativeBatchNormLegitNoTraining0", _running),
    **named("BatchNormWithUpdate0 NativeBatchNormLegit1", _channels),
    **named("NllLoss0 NllLoss2D0", _classes),
    **named("MultiMarginLoss0 MultilabelMarginLoss0", _margins),
    **named("Im2Col0 Col2Im0", _columns),
    **named("Embedding0", _lookup),
    **named("EmbeddingBag0", _bags),
}

JOINT: dict[str, Joint] = {
    "LinalgEighBackward0": alike(_matrices),
    "LinalgQrBackward0": alike(_matrices),
    "LinalgSlogdetBackward0": alike(_matrices),
    "LinalgSvdBackward0": alike(_matrices),
}
