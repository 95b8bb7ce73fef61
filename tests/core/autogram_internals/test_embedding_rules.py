"""The rules of lookups in tables, and the use that holds them."""

import pytest
import torch
from torch.nn import functional

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules import _embedding as rules
from torchjd.autogram._uses import _lookup
from torchjd.autogram._uses._lookup import Lookup
from torchjd.autogram._uses._rows import Rows

from .rule_oracle import call_of, check, check_call, close, missing, parameter, random, refused

READS = {
    "EmbeddingBackward0": {"indices", "padding_idx", "scale_grad_by_freq"},
    "EmbeddingBagBackward0": {
        *("indices", "offsets", "padding_idx", "scale_grad_by_freq", "mode"),
        "per_sample_weights",
    },
}


@pytest.mark.parametrize("name", READS)
def test_torch_saves_what_is_read(name):
    assert not missing(name, READS[name])


def tokens(*shape, size=7):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(size, shape, generator=generator)


PLACES = {
    "one token": ((5,), Layout(0), 5),
    "tokens": ((5, 4), Layout(0), 5),
    "tokens first": ((4, 5), Layout(1), 5),
    "grid": ((2, 5, 3), Layout(1), 5),
    "outer": ((20,), Layout(0), 5),
    "inner": ((20,), Layout(0, inner=True), 5),
    "one sample": ((4, 5), Layout(1), 1),
    "one sample, in the columns": ((4, 5), Layout(2), 1),
    "one sample of one token": ((), Layout(0), 1),
}


@pytest.fixture(params=["ghost", "pairs", "pairs and rows", "columns"])
def form(request, monkeypatch):
    """Each way to the Gramian, in blocks so small that there are several."""
    monkeypatch.setattr(Lookup, "_prefers_ghost", lambda *_: request.param == "ghost")
    monkeypatch.setattr(Lookup, "_block_bytes", lambda _: 800)
    if request.param == "pairs":  # however many samples read a row
        monkeypatch.setattr(_lookup, "_FEW", 1)
    if request.param == "columns":  # as where the device is not to be waited for
        monkeypatch.setattr(Lookup, "_on_cpu", False)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("place", PLACES)
def test_embedding(place, padding, size, tasks):
    shape, layout, batch = PLACES[place]
    table = parameter(size, 3)
    out = functional.embedding(tokens(*shape, size=7), table, padding_idx=padding)
    check(rules.embedding, out, layout, batch, {0: table}, tasks)


@pytest.mark.usefixtures("form")
def test_embedding_of_short_integers():
    table = parameter(7, 3)
    out = functional.embedding(tokens(5, 4).int(), table, padding_idx=1)
    check(rules.embedding, out, Layout(0), 5, {0: table}, 2)


def test_sparse_gradients_are_the_same():
    table, ids = parameter(7, 3), tokens(5, 4)
    dense = functional.embedding(ids, table, padding_idx=2)
    call, rows = call_of(dense, Layout(0), 5, {0: table}, 2)
    call.node = functional.embedding(ids, table, padding_idx=2, sparse=True).grad_fn
    uses = rules.embedding(call)
    assert uses is not None
    close(uses[0].rows(), rows[0])


def test_coupled_samples_are_refused():
    table = parameter(7, 3)
    out = functional.embedding(tokens(5, 4), table, scale_grad_by_freq=True)
    assert refused(rules.embedding, out, Layout(0), 5, {0: table})
    out = functional.embedding(tokens(5, 4), table)
    assert refused(rules.embedding, out, Layout(2), 3, {0: table})


BAGS = {
    "one bag a sample": (5, [0, 2, 2, 7, 11], False, Layout(0)),
    "the last bag empty": (5, [0, 2, 3, 7, 12], False, Layout(0)),
    "the first bags empty": (5, [0, 0, 0, 7, 11], False, Layout(0)),
    "last offset": (5, [0, 2, 2, 7, 11, 12], True, Layout(0)),
    "outer": (2, [0, 2, 6, 7], False, Layout(0)),
    "inner": (2, [0, 2, 6, 7], False, Layout(0, inner=True)),
    "one sample": (1, [0, 2, 2, 7], False, Layout(0)),
}


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "weighted"])
@pytest.mark.parametrize("name", BAGS)
def test_embedding_bag(name, mode, padding, tasks):
    batch, offsets, include_last, layout = BAGS[name]
    table = parameter(7, 3)
    out = functional.embedding_bag(
        tokens(12),
        table,
        torch.tensor(offsets),
        mode="sum" if mode == "weighted" else mode,
        per_sample_weights=random(12) if mode == "weighted" else None,
        include_last_offset=include_last,
        padding_idx=padding,
    )
    check(rules.embedding_bag, out, layout, batch, {0: table}, tasks)


def test_bags_of_equal_length():
    table = parameter(7, 3)
    out = functional.embedding_bag(tokens(5, 4), table, mode="mean")
    check(rules.embedding_bag, out, Layout(0), 5, {0: table}, 2)


def test_tokens_after_the_last_offset_are_in_no_bag():
    table, ids, offsets = parameter(7, 3), tokens(12), torch.tensor([0, 2, 6, 9])
    bags = {"mode": "sum", "include_last_offset": True}
    out = functional.embedding_bag(ids[:9], table, offsets, **bags)
    call, rows = call_of(out, Layout(0), 3, {0: table}, 2)
    call.node = functional.embedding_bag(ids, table, offsets, **bags).grad_fn
    check_call(rules.embedding_bag, call, rows)


def test_bags_that_are_no_lookup_are_refused():
    table, weights = parameter(7, 3), random(5, 4).requires_grad_()
    out = functional.embedding_bag(tokens(5, 4), table, mode="max")
    assert refused(rules.embedding_bag, out, Layout(0), 5, {0: table})
    out = functional.embedding_bag(tokens(5, 4), table, scale_grad_by_freq=True)
    assert refused(rules.embedding_bag, out, Layout(0), 5, {0: table})
    out = functional.embedding_bag(tokens(5, 4), table, per_sample_weights=weights, mode="sum")
    assert refused(rules.embedding_bag, out, Layout(0), 5, {0: table, 1: weights})
    assert refused(rules.embedding_bag, out, Layout(1), 3, {0: table})


def lookup(seed, padding=-1, t=20):
    owners = torch.arange(5).repeat_interleave(t // 5)
    B = random(2, t, 3, seed=seed)
    return Lookup(tokens(t), owners, B, batch=5, size=7, padding=padding)


def test_merged_lookups_are_their_sum():
    first, second = lookup(1), lookup(2, t=10)
    both = first.merge(second)
    assert both is not None
    J = first.rows() + second.rows()
    close(both.rows(), J)
    gramian = torch.zeros(10, 10, dtype=torch.float64)
    both.add_gramian(gramian, 0)
    close(gramian, J.flatten(1) @ J.flatten(1).T)
    close(both.weighted(random(2, 5)), torch.tensordot(random(2, 5).flatten(), J, 1))


def test_lookups_that_cannot_be_merged():
    assert lookup(1).merge(lookup(1, padding=2)) is None
    assert lookup(1).merge(Rows(random(2, 5, 7, 3))) is None


def test_a_batch_that_reads_nothing_but_padding(form):
    owners, B = torch.arange(5), random(1, 5, 3)
    use = Lookup(torch.full((5,), 2), owners, B, batch=5, size=7, padding=2)
    gramian = torch.zeros(5, 5, dtype=torch.float64)
    use.add_gramian(gramian, 0)
    assert not gramian.any()
    assert not use.rows().any()
    assert not use.weighted(random(1, 5)).any()


def test_what_is_kept_fits_in_the_room_given():
    use, gramian = lookup(1), torch.zeros(10, 10, dtype=torch.float64)
    assert use.add_gramian(gramian, use.nbytes()) is use
    assert use.add_gramian(gramian, use.nbytes() - 1) is None


@pytest.mark.parametrize(
    ("batch", "t", "touched", "pairs", "ghost"),
    [
        (32, 64, 50, 0, False),  # few rows, that all samples read
        (32, 64, 0, 4000, False),  # many rows, that few samples read
        (256, 1, 200, 0, True),  # one token a sample
    ],
)
def test_the_cheaper_way_to_the_gramian_is_taken(batch, t, touched, pairs, ghost):
    owners = torch.arange(batch).repeat_interleave(t)
    B = random(1, batch * t, 16)
    use = Lookup(tokens(batch * t), owners, B, batch=batch, size=1000)
    assert use._prefers_ghost(touched, pairs) is ghost
