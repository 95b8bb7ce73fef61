"""Lookups of rows of a table, each for itself or added up in bags."""

from collections.abc import Mapping

import torch
from torch import Tensor

from torchjd.autogram._uses._lookup import Lookup
from torchjd.autogram._uses._use import Use

from ._call import Call

_SUM, _MEAN = 0, 1  # torch's numbers for the ways to reduce a bag


def embedding(call: Call) -> Mapping[int, Use] | None:
    """Return the use of the table of an embedding, of which the gradient may be sparse."""
    layout, indices = call.layout, call.saved("indices")
    # To scale by the frequency of a token in the batch couples the samples.
    if layout is None or call.saved("scale_grad_by_freq"):
        return None
    if call.batch > 1 and layout.dim >= indices.ndim:
        return None
    B = call.cotangent()
    if call.batch == 1:
        tokens = indices[None]
    else:
        tokens, B = layout.front(indices, call.batch), layout.front(B, call.batch, lead=1)
    tokens = tokens.reshape(call.batch, -1)
    owners = torch.arange(call.batch, device=tokens.device)[:, None].expand_as(tokens)
    return _lookup(call, tokens.flatten(), owners.flatten(), B)


def embedding_bag(call: Call) -> Mapping[int, Use] | None:
    """Return the use of the table of which bags of rows were added up or averaged."""
    layout, mode = call.layout, call.saved("mode")
    # The greatest entry of a bag comes from another row in each column: that is no lookup.
    if layout is None or call.saved("scale_grad_by_freq") or mode not in {_SUM, _MEAN}:
        return None
    if set(call.wanted) != {0} or (layout.dim != 0 and call.batch > 1):
        return None
    tokens: Tensor = call.saved("indices")
    offsets: Tensor = call.saved("offsets")
    B = call.cotangent()
    bags = B.shape[1]
    # Of bags that begin at the same place, all but the last are empty.
    places = torch.arange(tokens.shape[0], device=tokens.device, dtype=offsets.dtype)
    bag = torch.searchsorted(offsets[:bags], places, right=True) - 1
    factors = torch.ones_like(tokens, dtype=call.dtype)
    if mode == _MEAN:
        factors.masked_fill_(tokens == call.saved("padding_idx"), 0.0)
        sizes = factors.new_zeros(bags).index_add_(0, bag, factors)
        factors = sizes.clamp_(min=1).reciprocal_()[bag]
    if offsets.shape[0] > bags:
        # The last offset is where the last bag ends: what follows is in none.
        factors = factors.masked_fill(places >= offsets[bags], 0.0)
    weights = call.saved("per_sample_weights")
    if weights is not None:
        factors = factors * weights.to(call.dtype)
    numbers = torch.arange(bags, device=tokens.device)
    owners = numbers.new_empty(bags)
    if call.batch == 1:
        owners.zero_()
    else:
        samples = torch.arange(call.batch, device=tokens.device)[:, None]
        layout.front(owners, call.batch).view(call.batch, -1).copy_(samples)
    return _lookup(call, tokens, owners[bag], B[:, bag] * factors[:, None])


def _lookup(call: Call, tokens: Tensor, owners: Tensor, B: Tensor) -> Mapping[int, Use]:
    size, width = call.wanted[0]
    padding = call.saved("padding_idx")
    use = Lookup(
        tokens,
        owners,
        B.reshape(call.tasks, -1, width),
        batch=call.batch,
        size=size,
        padding=padding if padding < size else -1,
    )
    return {0: use}
