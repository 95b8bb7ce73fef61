"""Embeddings, bags of them, and rows of parameters by index."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import B, function, row, squared, tokens, x


class Embed(nn.Module):
    def __init__(self, embedding: nn.Module, *, width: int = 3) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = nn.Linear(width, 2)

    def forward(self, *given: Tensor) -> Tensor:
        return self.head(self.embedding(*given).tanh())


def weighted_bag() -> nn.Module:
    class Bag(nn.EmbeddingBag):
        def forward(self, index, weights):
            return super().forward(index, per_sample_weights=weights)

    return Embed(Bag(7, 3, mode="sum"))


class LearnedBag(nn.Module):
    """A bag whose weights are computed from parameters too."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(7, 3, mode="sum")
        self.scores = nn.Embedding(7, 1)

    def forward(self, index: Tensor) -> Tensor:
        weights = self.scores(index).squeeze(-1).softmax(1)
        return self.bag(index, per_sample_weights=weights)


TOKENS = tokens(7, B, 5)
OFFSETS = torch.tensor([0, 3, 4, 4])

EMBEDDINGS = [
    row("embedding", lambda: Embed(nn.Embedding(7, 3)), TOKENS),
    row(
        "embedding of the batch's size", lambda: Embed(nn.Embedding(B, B), width=B), tokens(B, B, B)
    ),
    row("embedding of single tokens", lambda: Embed(nn.Embedding(7, 3)), tokens(7, B)),
    row("embedding, all tokens the same", lambda: Embed(nn.Embedding(7, 3)), TOKENS * 0 + 2),
    row(
        "embedding, sequence first",
        lambda: Embed(nn.Embedding(7, 3)),
        TOKENS.T,
        loss=lambda y: squared(y, 1),
    ),
    row("embedding with padding", lambda: Embed(nn.Embedding(7, 3, padding_idx=2)), TOKENS),
    row(
        "embedding scaled by frequency",
        lambda: Embed(nn.Embedding(7, 3, scale_grad_by_freq=True)),
        TOKENS,
    ),
    row("embedding of bounded norm", lambda: Embed(nn.Embedding(7, 3, max_norm=1.0)), TOKENS),
    row(
        "sparse embedding", lambda: Embed(nn.Embedding(7, 3, sparse=True)), TOKENS, traceable=False
    ),
    row(
        "sparse embedding with padding",
        lambda: Embed(nn.Embedding(7, 3, sparse=True, padding_idx=2)),
        TOKENS,
        traceable=False,
    ),
    row("embedding bag, sum", lambda: Embed(nn.EmbeddingBag(7, 3, mode="sum")), TOKENS),
    row("embedding bag, mean", lambda: Embed(nn.EmbeddingBag(7, 3)), TOKENS),
    row("embedding bag, max", lambda: Embed(nn.EmbeddingBag(7, 3, mode="max")), TOKENS),
    row("embedding bag, square", lambda: Embed(nn.EmbeddingBag(B, B), width=B), tokens(B, B, B)),
    row("embedding bag, weighted", weighted_bag, TOKENS, x(B, 5)),
    row("embedding bag, learned weights", LearnedBag, TOKENS),
    row("embedding bag, padding", lambda: Embed(nn.EmbeddingBag(7, 3, padding_idx=2)), TOKENS),
    row("embedding bag, offsets", lambda: Embed(nn.EmbeddingBag(7, 3)), tokens(7, 9), OFFSETS),
    row(
        "embedding bag, offsets and padding",
        lambda: Embed(nn.EmbeddingBag(7, 3, mode="sum", padding_idx=2)),
        tokens(7, 9),
        OFFSETS,
    ),
    row(
        "sparse embedding bag",
        lambda: Embed(nn.EmbeddingBag(7, 3, sparse=True)),
        TOKENS,
        traceable=False,
    ),
    function("one-hot product", lambda i, w: F.one_hot(i, 7).to(w.dtype) @ w, [(7, 3)], TOKENS),
    function("rows by index", lambda i, w: w[i].tanh(), [(7, 3)], TOKENS),
    function(
        "rows by index_select", lambda i, w: w.index_select(0, i).tanh(), [(7, 3)], tokens(7, B)
    ),
    function(
        "rows by gather", lambda i, w: w.gather(0, i[:, :3]).tanh(), [(7, 3)], tokens(7, B, 3)
    ),
    function("rows by take", lambda i, w: w.take(i).tanh(), [(7, 3)], TOKENS),
    function("one row for each sample", lambda i, w: w[i].tanh(), [(B, 3)], torch.arange(B)),
]
