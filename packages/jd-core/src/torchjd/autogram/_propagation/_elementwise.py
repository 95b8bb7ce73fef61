"""Nodes that treat each element apart, with or without broadcasting."""

from torchjd.autogram._layout import Layout

from ._node import Found, Rule, Saver, moved, named, output_shape


def unchanged(_node: Saver, layout: Layout, _batch: int) -> Found:
    """Keep the shape of the only input."""
    return {0: layout}


def broadcast(node: Saver, layout: Layout, _batch: int) -> Found:
    """Broadcast the inputs, of which those that lack the samples' dimension sum over them."""
    shape = output_shape(node)
    size = shape[layout.dim]
    behind = len(shape) - layout.dim
    found = {}
    # A loop of its own: these are the most frequent nodes of many graphs.
    for index, (source, number) in enumerate(node.next_functions):
        if source is None:
            continue
        entering = source._input_metadata[number].shape
        dim = len(entering) - behind
        if dim < 0:
            continue
        if entering[dim] == size:
            found[index] = layout if dim == layout.dim else moved(layout, dim)
        elif entering[dim] != 1:
            return None
    return found


def unreduced(node: Saver, layout: Layout, batch: int) -> Found:
    """Compare elements, without reduction."""
    return broadcast(node, layout, batch) if node._saved_reduction == 0 else None


# One tensor, and an output of its shape, in all versions of the operation.
_ONE = """
Abs0 Acos0 Acosh0 Acosh1 Add1 Alias0 Angle0 Asin0 Asinh0 Asinh1 Atan0 Atanh0 Atanh1 Ceil0 Celu0
Celu1 Clamp1 ClampMax0 ClampMin0 Clone0 Conj0 ConjPhysical0 ConjPhysical1 Cos0 Cosh0 Deg2Rad0
Digamma0 Div1 Div3 Elu0 Elu1 Erf0 Erfc0 Erfinv0 Exp0 Exp20 Expm10
FakeQuantizePerChannelAffineCachemask0 FakeQuantizePerTensorAffineCachemask0 Fill0 Fill2 Floor0
Fmod0 Frac0 FusedDropout0 Gelu0 Hardshrink0 Hardsigmoid0 Hardswish0 Hardtanh0 I00 LeakyRelu0
LeakyRelu1 Lgamma0 Lift0 LiftFresh0 Log0 Log100 Log1P0 Log20 LogSigmoid0 Logit0 Mish0 Mul1 Mvlgamma0
NanToNum0 NativeDropout0 Neg0 NegView0 PinMemory0 Polygamma0 Polygamma1 Pow0 Pow2 Rad2Deg0
Reciprocal0 Relu0 Remainder0 Round0 Round1 RreluWithNoise0 RreluWithNoise1 Rsqrt0 Rsub1 Sgn0
Sigmoid0 Sign0 Silu0 Sin0 Sinc0 Sinh0 Softplus0 Softshrink0 SpecialEntr0 SpecialErfcx0 SpecialI0E0
SpecialI10 SpecialI1E0 SpecialLogNdtr0 SpecialNdtri0 Sqrt0 Sub1 Tan0 Tanh0 Threshold0 Threshold1
ToCopy0 Tril0 Triu0 Trunc0 Zero0
"""

# Several tensors that are broadcast, or that some version of the operation broadcasts.
_MANY = """
Add0 Addcdiv0 Addcmul0 Atan20 Clamp0 ClampMax1 ClampMin1 Complex0 Copysign0 Copysign1 Div0 Div2
EluBackward0 Expand0 FakeQuantizePerTensorAffineCachemaskTensorQparams0 Fill1 Fill3 Fmax0 Fmin0
Fmod1 FusedMovingAvgObsFqHelper0 GeluBackward0 HardshrinkBackward0 HardswishBackward0
HardtanhBackward0 Hypot0 Ldexp0 LeakyReluBackward0 Lerp0 Lerp1 LogSigmoidBackward0 Logaddexp0
Logaddexp20 MaskedFill0 MaskedFill1 Maximum0 Minimum0 Mul0 NativeDropoutBackward0 Polar0 Pow1
PreluKernel0 Remainder1 RreluWithNoiseFunctional0 Rsub0 SigmoidBackward0 SoftplusBackward0
SoftshrinkBackward0 SpecialXlog1Py0 SpecialXlog1Py1 SpecialXlog1Py2 SpecialZeta0 SpecialZeta1
SpecialZeta2 Sub0 TanhBackward0 ThresholdBackward0 Where0 Xlogy0 Xlogy1 Xlogy2
"""

_LOSSES = """
BinaryCrossEntropy0 BinaryCrossEntropyWithLogits0 HuberLoss0 MseLoss0 SmoothL1Loss0 SoftMarginLoss0
"""


RULES: dict[str, Rule] = {
    **named(_ONE, unchanged),
    **named(_MANY, broadcast),
    **named(_LOSSES, unreduced),
    # What an in-place copy overwrites gets a gradient of zeros, which may sit anywhere.
    "CopyBackwards": broadcast,
}
