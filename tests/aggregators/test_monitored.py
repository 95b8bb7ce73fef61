"""Every discovered method under observation: the same results, and a record that is true."""

import copy

import pytest
import torch
from torch import nn

from tests.aggregators.test_conformance import MIN_ROWS, TABLE, VARIANTS
from tests.fake_cuda import fake_cuda
from torchjd.aggregation import Aggregator
from torchjd.autojac import jac_to_grad
from torchjd.monitor import Recorder
from torchjd.testing import assert_close
from torchjd.testing.matrices import conflicting, gaussian, with_row_scales, with_zero_rows

METHODS: dict = TABLE | {name: make for name, (make, _) in VARIANTS.items()}
every_method = pytest.mark.parametrize("name", METHODS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

M, N = 4, 9
# Consecutive steps: of methods with a memory, the later ones tell whether it was disturbed.
STEPS = [
    gaussian(M, N, 0),
    conflicting(M, N, 1),
    with_row_scales(M, N, 2.0, 2),
    with_zero_rows(M, N, 3),
    gaussian(M, N, 4),
]


def made(name) -> Aggregator:
    assert MIN_ROWS.get(name, 1) <= M
    return METHODS[name](M)


def inputs(aggregator, matrix):
    """Return what a call is given beside the rows."""
    other = matrix.double() + 0.25 * matrix.double().roll(1, 1)
    return {
        "losses": torch.linspace(0.5, 2.0, M, dtype=torch.float64),
        "cross_gramian": matrix.double() @ other.T,
    }


def flat(value):
    """Return the tensors of a state, however deep they are."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in flat(part)]
    return [torch.tensor(float(value))] if isinstance(value, int | float) else []


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype is other.dtype
        assert torch.equal(one.nan_to_num(nan=1e30), other.nan_to_num(nan=1e30))


@every_method
@every_dtype
@pytest.mark.parametrize("way", ["call", "aggregate_blocks", "aggregate_whole"])
def test_results_weights_and_state_are_the_same_bit_for_bit(name, dtype, way):
    results = []
    for every in (None, 1, 2, 0):  # 0 for no recorder
        aggregator = made(name)
        recorder = Recorder(aggregator, every=every) if every != 0 else None
        if recorder is not None:
            recorder.attach()
        found = []
        for step in STEPS:
            matrix = step.to(dtype)
            given = inputs(aggregator, matrix)
            if way == "call":
                found.append(aggregator(matrix, **given))
            else:
                blocks = [part.contiguous() for part in matrix.split([2, 0, N - 2], dim=1)]
                parts, weights = getattr(aggregator, way)(blocks, **given)
                found += [*parts, *([] if weights is None else [weights])]
        if recorder is not None:
            recorder.detach()
        results.append([*found, *flat(aggregator.state_dict())])
    *observed, plain = results
    for one in observed:
        assert_same(one, plain)


@every_method
@every_dtype
@pytest.mark.parametrize("way", ["call", "blocks"])
def test_a_record_is_what_plain_arithmetic_says(name, dtype, way):
    aggregator = made(name)
    with Recorder(aggregator, every=1) as recorder:
        for i, step in enumerate(STEPS):
            matrix = step.to(dtype)
            given = inputs(aggregator, matrix)
            if way == "call":
                update = aggregator(matrix, **given)
            else:
                blocks = [part.contiguous() for part in matrix.split([2, N - 2], dim=1)]
                update = torch.cat(aggregator.aggregate_blocks(blocks, **given)[0])
            assert len(recorder.records) == i + 1  # once
            assert_true(recorder.last, matrix.double(), update.double(), dtype)


def assert_true(record, matrix, update, dtype):
    """Assert that ``record`` is of the rows and the update, in plain float64."""
    gramian = matrix @ matrix.T
    lengths = matrix.norm(dim=1)
    assert_close(record.gramian, gramian)
    assert_close(record.norms, lengths)
    unit = torch.nn.functional.normalize(matrix, dim=1)
    assert_close(record.cosines, unit @ unit.T, scale=1.0)
    pairs = gramian[torch.ones(M, M).tril(-1).bool()]
    assert record.conflict_rate == pytest.approx(float((pairs < 0).double().mean()))
    # What is recorded has the weights unrounded; the update has the digits of its dtype.
    if not update.isfinite().all():
        assert not record.predicted_decrease.isfinite().all()
        return
    size = lengths.max() * (
        update.norm() + weighted_length(record, lengths) * (dtype is torch.float32)
    )
    assert_close(record.predicted_decrease.to(dtype), matrix @ update, scale=size)


def weighted_length(record, lengths):
    """Return the length of the weighted rows, which may cancel one another."""
    return 0.0 if record.weights is None else (record.weights.double().abs() * lengths).sum()


@every_method
def test_the_state_that_is_saved_and_copied_is_the_same(name):
    plain = made(name)
    observed = copy.deepcopy(plain)
    matrix = STEPS[0]
    with Recorder(observed):
        for aggregator in (plain, observed):
            aggregator(matrix, **inputs(aggregator, matrix))
        double = copy.deepcopy(observed)
        assert repr(observed) == repr(plain)
        assert list(observed.state_dict()) == list(plain.state_dict())
        for aggregator in (plain, double):
            update = aggregator(STEPS[1], **inputs(aggregator, STEPS[1]))
            assert update.shape == (N,)
        again = [a(STEPS[2], **inputs(a, STEPS[2])) for a in (plain, double)]
    assert_same(again[1:], again[:1])


@pytest.mark.parametrize("name", [name for name in TABLE if made(name).traits.on_device])
def test_recording_on_a_gpu_reads_nothing_on_the_host(name):
    kept = []
    with fake_cuda():
        aggregator = made(name)
        recorder = Recorder(aggregator, every=1, to=kept.append).attach()
        for _ in range(2):
            params = [nn.Parameter(torch.empty(s, device="cuda")) for s in [(4, 3), (5,)]]
            for param in params:
                param.jac = torch.empty(M, *param.shape, device="cuda")
            given = {
                "losses": torch.empty(M, device="cuda"),
                "cross_gramian": torch.empty(M, M, device="cuda", dtype=torch.float64),
            }
            jac_to_grad(params, aggregator, **given)
        recorder.detach()
        assert [record.gramian.device.type for record in kept] == ["cuda", "cuda"]
        assert kept[0].predicted_decrease.device.type == "cuda"
