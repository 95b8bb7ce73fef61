"""Recurrent networks: all kinds, through fused kernels (float32) and not, packed, unrolled."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .architecture import Architecture, B, by_position, row, squared, x

SERIES = x(B, 3, 5)
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def first(outcome: tuple[Tensor, object]) -> Tensor:
    return squared(outcome[0])


def second(outcome: tuple[Tensor, object]) -> Tensor:
    return squared(outcome[0], 1)


def recurrent(name: str, kind: str, given: Tensor, loss=first, hidden=3, **options) -> Architecture:
    width = given.shape[-1]
    return row(
        f"{kind} {name}",
        lambda: KINDS[kind](width, hidden, **options),
        given,
        loss=loss,
    )


def states(outcome: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
    """Return losses of all that an LSTM returns."""
    output, (hidden, cell) = outcome
    return squared(output) + squared(hidden, 1) + squared(cell.tanh(), 1)


def last_state(outcome: tuple[Tensor, Tensor]) -> Tensor:
    return squared(outcome[1], 1)


def cell_state(outcome: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
    return squared(outcome[1][1], 1)


class Packed(nn.Module):
    """A recurrent network on sequences of different lengths."""

    def __init__(self, kind: type[nn.RNNBase], lengths: list[int], **options) -> None:
        super().__init__()
        self.cells = kind(5, 3, batch_first=True, **options)
        self.lengths = lengths

    def forward(self, given: Tensor) -> Tensor:
        packed = pack_padded_sequence(given, self.lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.cells(packed)[0], batch_first=True)[0]


class Unrolled(nn.Module):
    """Cells called step by step, with a learned first state."""

    def __init__(self, kind: type[nn.RNNCellBase], width: int, hidden: int) -> None:
        super().__init__()
        self.cell = kind(width, hidden)
        self.start = nn.Parameter(torch.randn(hidden))
        self.head = nn.Linear(hidden, 2)

    def forward(self, given: Tensor) -> Tensor:
        hidden = self.start.expand(len(given), -1)
        memory = torch.zeros_like(hidden)
        outputs = []
        for step in given.unbind(1):
            if isinstance(self.cell, nn.LSTMCell):
                hidden, memory = self.cell(step, (hidden, memory))
            else:
                hidden = self.cell(step, hidden)
            outputs.append(self.head(hidden))
        return torch.stack(outputs, 1)


class Started(nn.Module):
    """An LSTM whose first states are parameters, and an encoder before it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 4)
        self.cells = nn.LSTM(4, 3, batch_first=True)
        self.hidden = nn.Parameter(torch.randn(1, 1, 3))
        self.memory = nn.Parameter(torch.randn(1, 1, 3))

    def forward(self, given: Tensor) -> Tensor:
        n = len(given)
        start = (self.hidden.expand(-1, n, -1), self.memory.expand(-1, n, -1))
        start = (start[0].contiguous(), start[1].contiguous())
        return self.cells(self.encoder(given), start)[0]


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, B)
        self.cells = nn.LSTM(B, 3, bidirectional=True, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, index: Tensor) -> Tensor:
        return self.head(self.cells(self.words(index))[0].flip(1))


EVERY_KIND = [
    architecture
    for kind in KINDS
    for architecture in [
        recurrent("batch first", kind, SERIES, batch_first=True),
        recurrent("sequence first", kind, x(3, B, 5), second),
        recurrent(
            "two layers, both ways",
            kind,
            SERIES,
            batch_first=True,
            num_layers=2,
            bidirectional=True,
        ),
        recurrent("all sizes equal", kind, x(B, B, B), batch_first=True, hidden=B),
        recurrent("all sizes equal, sequence first", kind, x(B, B, B), second, hidden=B),
        recurrent("of one step", kind, x(B, 1, 5), batch_first=True),
        recurrent("without bias", kind, SERIES, batch_first=True, bias=False),
        recurrent("with dropout", kind, SERIES, batch_first=True, num_layers=2, dropout=0.4),
        row(
            f"{kind} packed",
            lambda kind=kind: Packed(KINDS[kind], [2, 3, 1, 3]),
            SERIES,
            traceable=False,
        ),
        row(
            f"{kind} packed, two layers, both ways",
            lambda kind=kind: Packed(KINDS[kind], [3, 1, 2, 2], num_layers=2, bidirectional=True),
            SERIES,
            traceable=False,
        ),
    ]
]

RECURRENT = [
    *EVERY_KIND,
    recurrent("last state", "rnn", SERIES, last_state, batch_first=True, nonlinearity="relu"),
    recurrent("last state", "gru", SERIES, last_state, batch_first=True, num_layers=2),
    recurrent("all states", "lstm", SERIES, states, batch_first=True),
    recurrent(
        "all states, two layers, both ways",
        "lstm",
        SERIES,
        states,
        batch_first=True,
        num_layers=2,
        bidirectional=True,
    ),
    recurrent("memory alone", "lstm", SERIES, cell_state, batch_first=True),
    recurrent("projected", "lstm", SERIES, batch_first=True, hidden=4, proj_size=2),
    recurrent(
        "projected, two layers, both ways",
        "lstm",
        SERIES,
        batch_first=True,
        hidden=4,
        proj_size=2,
        num_layers=2,
        bidirectional=True,
    ),
    recurrent("of one sample", "lstm", x(1, 3, 5), batch_first=True),
    row(
        "lstm losses [T, B]",
        lambda: nn.LSTM(5, 3),
        x(3, B, 5),
        loss=lambda outcome: by_position(outcome[0]),
        batch_dim=1,
    ),
    row(
        "lstm losses [B, T]",
        lambda: nn.LSTM(5, 3, batch_first=True),
        SERIES,
        loss=lambda outcome: by_position(outcome[0]),
    ),
    row("lstm with learned states", Started, SERIES),
    row("lstm tagger", Tagger, torch.tensor([[0, 1, 1], [2, 8, 0], [4, 4, 4], [1, 7, 3]])),
    row("lstm cells", lambda: Unrolled(nn.LSTMCell, 5, 3), SERIES),
    row("lstm cells, all sizes equal", lambda: Unrolled(nn.LSTMCell, B, B), x(B, B, B)),
    row("gru cells", lambda: Unrolled(nn.GRUCell, 5, 3), SERIES),
    row("gru cells, all sizes equal", lambda: Unrolled(nn.GRUCell, B, B), x(B, B, B)),
    row("rnn cells", lambda: Unrolled(nn.RNNCell, 5, 3), SERIES),
]
