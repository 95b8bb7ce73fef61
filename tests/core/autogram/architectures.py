"""The table of architectures on which the Gramian engine is compared with dense references."""

from functools import cache

import torch

from .architecture import Architecture
from .architectures_attention import ATTENTION
from .architectures_batch import BATCHES
from .architectures_conv import CONV
from .architectures_embedding import EMBEDDINGS
from .architectures_linear import LINEAR
from .architectures_norm import NORMS
from .architectures_odd import ODD
from .architectures_recurrent import RECURRENT
from .architectures_sharing import SHARING
from .oracle import Reference, by_func, by_rows, trainable

ARCHITECTURES = [
    *LINEAR,
    *CONV,
    *NORMS,
    *EMBEDDINGS,
    *RECURRENT,
    *ATTENTION,
    *SHARING,
    *BATCHES,
    *ODD,
]
BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
assert len(BY_NAME) == len(ARCHITECTURES), "names of architectures must differ"


def reference(architecture: Architecture, *, func: bool) -> Reference:
    """Return the Jacobian of the float64 model, by ``torch.func`` or by rows."""
    model = architecture.model(torch.float64)
    if func:
        losses = architecture.losses
        inputs = [x.double() if x.is_floating_point() else x for x in architecture.inputs]

        def forward(call):
            with torch.random.fork_rng(devices=[]):
                torch.random.manual_seed(0)
                return losses(call, *inputs)

        return by_func(model, forward)
    return by_rows(architecture.forward(model), trainable(model))


@cache
def oracle(name: str) -> Reference:
    """Return the reference of the row of that name, computed once."""
    return reference(BY_NAME[name], func=BY_NAME[name].traceable)
