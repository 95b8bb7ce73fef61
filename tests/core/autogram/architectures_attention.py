"""Attention and transformers: batch first and second, masks, dropout, projections."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, B, by_position, row, squared, tokens, x

SEQUENCES = x(B, 3, 6)
CUBE = x(B, B, B)
PADDING = torch.tensor([[False, False, False], [False, False, True], [False, True, True],
                        [False, False, True]])  # fmt: skip


def encoder(name: str, given: Tensor, *, layers: int = 0, dim: int = 0, **options) -> Architecture:
    width = given.shape[-1]
    settings = {"dropout": 0.0, "batch_first": dim == 0, **options}

    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(width, 2, 5, **settings)
        return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False) if layers else layer

    # torch.func draws the attention's dropout in another order.
    traceable = settings["dropout"] == 0.0
    return row(f"encoder {name}", build, given, loss=lambda y: squared(y, dim), traceable=traceable)


class Masked(nn.Module):
    """An encoder layer with a padding mask, and losses of the mean over what is not padding."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 5, 0.0, batch_first=True, **options)

    def forward(self, given: Tensor, mask: Tensor) -> Tensor:
        found = self.layer(given, src_key_padding_mask=mask)
        kept = (~mask)[:, :, None].to(given.dtype)
        return (found * kept).sum(1) / kept.sum(1)


class Causal(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 2, 5, 0.0, batch_first=True, bias=False)

    def forward(self, given: Tensor) -> Tensor:
        n = given.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n, dtype=given.dtype)
        return self.layer(given, src_mask=mask, is_causal=True)


class Attention(nn.Module):
    """``nn.MultiheadAttention`` on the same tensor, or on two."""

    def __init__(self, width: int, *, need_weights: bool = False, memory: int = 0, **options):
        super().__init__()
        if memory:
            options.update(kdim=memory, vdim=memory)
        self.attention = nn.MultiheadAttention(width, 2, **{"batch_first": True, **options})
        self.need_weights = need_weights

    def forward(self, given: Tensor, memory: Tensor | None = None) -> Tensor:
        memory = given if memory is None else memory
        found, weights = self.attention(given, memory, memory, need_weights=self.need_weights)
        return torch.cat([found, weights], 2) if self.need_weights else found


class Projections(nn.Module):
    """Attention by ``scaled_dot_product_attention``, as most language models write it."""

    def __init__(self, width: int, *, causal: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.width, self.causal, self.shared = width, causal, shared
        self.project = nn.Linear(width, width if shared else 3 * width, bias=not shared)
        self.out = nn.Linear(width, width)

    def forward(self, given: Tensor) -> Tensor:
        projected = self.project(given)
        parts = [projected] * 3 if self.shared else projected.chunk(3, dim=-1)
        heads = [p.unflatten(-1, (2, self.width // 2)).transpose(1, 2) for p in parts]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Vision(nn.Module):
    """Patches, a class token, learned positions, an encoder layer, a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.positions = nn.Parameter(torch.randn(1, 5, 6))
        self.layer = nn.TransformerEncoderLayer(
            6, 2, 5, 0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        h = self.patches(images).flatten(2).mT
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.positions
        return self.head(self.norm(self.layer(h)[:, 0]))


class LanguageModel(nn.Module):
    """Words, positions, a causal layer, and a head that may be tied to the words."""

    def __init__(self, length: int, *, tied: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 6)
        self.positions = nn.Embedding(length, 6)
        self.layer = Causal(6)
        self.head = nn.Linear(6, 7, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, index: Tensor) -> Tensor:
        h = self.words(index) + self.positions(torch.arange(index.shape[1]))
        return self.head(self.layer(h))


class Decoder(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(6, 2, 5, 0.0, batch_first=batch_first)

    def forward(self, given: Tensor, memory: Tensor) -> Tensor:
        return self.layer(given, memory)


class Rotary(nn.Module):
    """Rotary positions, grouped keys, RMS norm, and a gated feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.RMSNorm(8), nn.RMSNorm(8)
        self.q, self.kv = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.gate, self.up, self.down = nn.Linear(8, 5), nn.Linear(8, 5), nn.Linear(5, 8)

    def rotate(self, h: Tensor) -> Tensor:
        angles = torch.arange(h.shape[2], dtype=h.dtype)[:, None] * torch.tensor([1.0, 0.1])
        even, odd = h[..., 0::2], h[..., 1::2]
        cos, sin = angles.cos().to(h.dtype), angles.sin().to(h.dtype)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    def forward(self, given: Tensor) -> Tensor:
        h = self.norm(given)
        q = self.rotate(self.q(h).unflatten(2, (2, 4)).transpose(1, 2))
        k, v = self.kv(h).unflatten(2, (2, 1, 4)).transpose(1, 3).unbind(2)
        k = self.rotate(k).repeat_interleave(2, 1)
        v = v.repeat_interleave(2, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = given + mixed.transpose(1, 2).flatten(2)
        inner = self.norm2(h)
        return h + self.down(F.silu(self.gate(inner)) * self.up(inner))


ATTENTION = [
    encoder("layer", SEQUENCES),
    encoder("layer, sequence first", x(3, B, 6), dim=1),
    encoder("layer, all sizes equal", CUBE),
    encoder("layer, all sizes equal, sequence first", CUBE, dim=1),
    encoder("layer with dropout", SEQUENCES, dropout=0.1),
    encoder("layer with dropout, sequence first", x(3, B, 6), dim=1, dropout=0.1),
    encoder("layer, norm first", SEQUENCES, norm_first=True),
    encoder(
        "layer, norm first, gelu, no bias", CUBE, norm_first=True, activation="gelu", bias=False
    ),
    encoder("of two layers", SEQUENCES, layers=2, dropout=0.1),
    encoder("of two layers, all sizes equal, sequence first", CUBE, dim=1, layers=2),
    row("encoder layer with padding", Masked, SEQUENCES, PADDING),
    row(
        "encoder layer with padding, norm first",
        lambda: Masked(norm_first=True),
        SEQUENCES,
        PADDING,
    ),
    row("encoder layer, causal", lambda: Causal(6), SEQUENCES),
    row("encoder layer, causal, losses [B, T]", lambda: Causal(B), CUBE, loss=by_position),
    row("decoder layer", lambda: Decoder(batch_first=True), SEQUENCES, x(B, 5, 6)),
    row(
        "decoder layer, sequence first",
        lambda: Decoder(batch_first=False),
        x(3, B, 6),
        x(5, B, 6),
        loss=lambda y: squared(y, 1),
    ),
    row("attention", lambda: Attention(6), SEQUENCES),
    row(
        "attention, sequence first",
        lambda: Attention(6, batch_first=False),
        x(3, B, 6),
        loss=lambda y: squared(y, 1),
    ),
    row("attention with its weights", lambda: Attention(6, need_weights=True), SEQUENCES),
    row("attention, all sizes equal", lambda: Attention(B, need_weights=True), CUBE),
    row("attention to a memory", lambda: Attention(6), SEQUENCES, x(B, 2, 6)),
    row(
        "attention to a memory of another width",
        lambda: Attention(6, memory=5),
        SEQUENCES,
        x(B, 2, 5),
    ),
    row("attention with learned keys", lambda: Attention(6, add_bias_kv=True), SEQUENCES),
    row(
        "attention with a zero key", lambda: Attention(6, add_zero_attn=True, bias=False), SEQUENCES
    ),
    row("attention with dropout", lambda: Attention(6, dropout=0.3), SEQUENCES),
    row("attention, projections in one", lambda: Projections(6), SEQUENCES),
    row("attention, projections in one, causal", lambda: Projections(B, causal=True), CUBE),
    row("attention, one projection for all", lambda: Projections(6, shared=True), SEQUENCES),
    row("vision transformer", Vision, x(B, 1, 4, 4), traceable=False),
    row("language model", lambda: LanguageModel(5, tied=False), tokens(7, B, 5)),
    row("language model, tied", lambda: LanguageModel(5, tied=True), tokens(7, B, 5)),
    row(
        "language model, tied, losses [B, T]",
        lambda: LanguageModel(B, tied=True),
        tokens(7, B, B),
        loss=by_position,
    ),
    row("rotary, gated", Rotary, x(B, 3, 8)),
]
