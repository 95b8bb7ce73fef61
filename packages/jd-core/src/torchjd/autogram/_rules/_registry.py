"""Which rule serves which kind of node."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from torchjd.plugins import discovered, discovered_names

from ._rule import Rule

_FAMILIES: Mapping[str, Mapping[str, str]] = {
    "_broadcast": {
        "AddBackward0": "add",
        "AddcmulBackward0": "addcmul",
        "DivBackward0": "div",
        "ExpandBackward0": "expand",
        "LerpBackward0": "lerp",
        "LerpBackward1": "lerp",
        "MulBackward0": "mul",
        "PowBackward1": "power",
        "PreluKernelBackward0": "prelu",
        "RepeatBackward0": "repeat",
        "RsubBackward0": "rsub",
        "SubBackward0": "sub",
        "WhereBackward0": "where",
    },
    "_convolution": {"ConvolutionBackward0": "convolution"},
    "_embedding": {
        "EmbeddingBackward0": "embedding",
        "EmbeddingBagBackward0": "embedding_bag",
    },
    "_lstm": {"MkldnnRnnLayerBackward0": "mkldnn_lstm"},
    "_matmul": {
        "AddmmBackward0": "addmm",
        "AddmvBackward0": "addmv",
        "BaddbmmBackward0": "baddbmm",
        "BmmBackward0": "bmm",
        "LinearBackward0": "linear",
        "MmBackward0": "mm",
        "MvBackward0": "mv",
    },
    "_normalization": {
        "CudnnBatchNormBackward0": "batch_norm",
        "FusedRmsNormBackward0": "rms_norm",
        "MiopenBatchNormBackward0": "batch_norm",
        "NativeBatchNormBackward0": "batch_norm",
        "NativeGroupNormBackward0": "group_norm",
        "NativeLayerNormBackward0": "layer_norm",
    },
}
_BUILT_IN = {
    kind: (family, rule) for family, rules in _FAMILIES.items() for kind, rule in rules.items()
}


@cache
def rule_of(kind: str) -> Rule | None:
    """Return the rule of the nodes of a kind, that of a plugin first; None if there is none.

    :raises PluginConflictError: If several plugins have a rule for the kind.
    :raises PluginError: If the plugin that has one cannot import it.
    """
    if kind in discovered_names("autogram.rules"):
        rule: Rule = discovered("autogram.rules", kind)
        return rule
    if kind not in _BUILT_IN:
        return None
    family, name = _BUILT_IN[kind]
    built_in: Rule = getattr(import_module(f".{family}", __package__), name)
    return built_in
