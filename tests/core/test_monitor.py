"""The recorder: what it says is true, and what it looks at does not notice."""

import copy
import gc
import pickle
import weakref

import pytest
import torch

import torchjd
from torchjd.aggregation import WeightedAggregator
from torchjd.aggregation._observers import OBSERVED
from torchjd.autogram import Engine
from torchjd.autojac import backward, jac_to_grad
from torchjd.monitor import Record, Recorder
from torchjd.testing import assert_close

from .monitored import (
    AGGREGATORS,
    INPUTS,
    WEIGHTED,
    Equal,
    InverseSquare,
    Kept,
    Median,
    OfLosses,
    OfRows,
    OfShape,
    OfShares,
    OfTwoBatches,
    Refused,
    batch,
    inverse_square,
    jacobian_of,
    net,
    rows,
    split,
)

every_aggregator = pytest.mark.parametrize("name", AGGREGATORS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])


@pytest.fixture(autouse=True)
def nothing_stays_observed():
    yield
    if OBSERVED.in_use:  # as a cycle is what keeps a target alive
        gc.collect()
    assert not OBSERVED.in_use


def oracle(matrix):
    wide = matrix.double()
    return wide @ wide.T


@every_aggregator
@every_dtype
@pytest.mark.parametrize("way", ["call", "blocks", "whole"])
def test_a_record_says_what_the_step_was(name, dtype, way):
    aggregator, matrix = AGGREGATORS[name](), rows(dtype=dtype)
    with Recorder(aggregator, every=1, learning_rate=0.5) as recorder:
        if way == "call":
            update = aggregator(matrix, **INPUTS)
        else:
            ways = {"blocks": aggregator.aggregate_blocks, "whole": aggregator.aggregate_whole}
            parts, weights = ways[way](split(matrix), **INPUTS)
            update = torch.cat(parts)
    (record,) = recorder.records
    gramian = oracle(matrix)
    assert (record.step, record.names) == (0, ("0", "1", "2"))
    assert record.gramian.dtype == torch.float64
    assert_close(record.gramian, gramian)
    assert_close(record.norms, matrix.double().norm(dim=1))
    lengths = matrix.double().norm(dim=1)
    assert_close(record.cosines, gramian / lengths[:, None] / lengths)
    below = gramian[torch.ones(3, 3).tril(-1).bool()] < 0
    assert record.conflict_rate == below.double().mean()
    # As close as the update itself is, which has been rounded to the dtype of the rows.
    predicted = 0.5 * matrix.double() @ update.double()
    assert_close(record.predicted_decrease.to(dtype), predicted, scale=lengths.max() ** 2)
    assert (record.weights is not None) == (name in WEIGHTED)
    if way != "call" and record.weights is not None:
        assert_close(record.weights.to(weights), weights)


@every_aggregator
@every_dtype
@pytest.mark.parametrize("every", [None, 1, 2])
def test_the_target_does_not_notice(name, dtype, every):
    plain = AGGREGATORS[name]()
    observed = copy.deepcopy(plain)
    with Recorder(observed, every=every):
        for seed in range(4):
            matrix = rows(seed, dtype=dtype)
            assert torch.equal(observed(matrix, **INPUTS), plain(matrix, **INPUTS))
            found, expected = (
                a.aggregate_blocks(split(matrix), **INPUTS) for a in (observed, plain)
            )
            assert all(map(torch.equal, found[0], expected[0]))
            assert (found[1] is None) == (expected[1] is None)
            assert found[1] is None or torch.equal(found[1], expected[1])
    for key, value in plain.state_dict().items():
        assert torch.equal(observed.state_dict()[key], value)


@every_aggregator
def test_nothing_is_left_on_the_target(name):
    aggregator = AGGREGATORS[name]()
    before = {key: set(vars(module)) for key, module in aggregator.named_modules()}
    shown = repr(aggregator), pickle.dumps(aggregator), list(aggregator.state_dict())
    with Recorder(aggregator) as recorder:
        assert {key: set(vars(module)) for key, module in aggregator.named_modules()} == before
        assert (repr(aggregator), pickle.dumps(aggregator), list(aggregator.state_dict())) == shown
        assert not aggregator._forward_hooks
        for double in (copy.deepcopy(aggregator), pickle.loads(pickle.dumps(aggregator))):
            double(rows(), **INPUTS)
        assert recorder.records == []
        aggregator(rows(), **INPUTS)
        assert len(recorder.records) == 1
    aggregator(rows(), **INPUTS)
    assert len(recorder.records) == 1


@every_aggregator
def test_an_aggregation_can_be_differentiated(name):
    gradients = []
    for observed in (False, True):
        aggregator, matrix = AGGREGATORS[name](), rows().requires_grad_()
        recorder = Recorder(aggregator, every=1)
        if observed:
            recorder.attach()
        aggregator(matrix, **INPUTS).square().sum().backward()
        recorder.detach()
        gradients.append(matrix.grad)
        for record in recorder.records:
            kept = (record.gramian, record.weights, record.predicted_decrease)
            assert not any(found is not None and found.requires_grad for found in kept)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("exponent", [-120, 0, 120])
def test_squares_out_of_range_are_recorded(exponent):
    aggregator, matrix = inverse_square(), rows() * 10.0**exponent
    with Recorder(aggregator) as recorder:
        aggregator(matrix)
    record, unit = recorder.last, rows()
    assert_close(record.norms / 10.0**exponent, unit.norm(dim=1))
    cosines = torch.nn.functional.normalize(unit, dim=1)
    assert_close(record.cosines, cosines @ cosines.T)
    # The weights are the inverse squares of the lengths: the prediction has no unit.
    expected = unit @ (unit.T @ (1.0 / unit.square().sum(dim=1)))
    assert_close(record.predicted_decrease, expected)


@pytest.mark.parametrize("exponent", [-200, 200])
def test_norms_are_recorded_whose_squares_are_no_numbers(exponent):
    aggregator, matrix = WeightedAggregator(OfShares()), rows() * 10.0**exponent
    with Recorder(aggregator) as recorder:
        aggregator(matrix)
    assert_close(recorder.last.norms / 10.0**exponent, rows().norm(dim=1))
    assert recorder.last.conflict_rate == pytest.approx(2 / 3)


def test_a_zero_gradient_has_no_direction():
    aggregator = WeightedAggregator(Equal())
    with Recorder(aggregator) as recorder:
        aggregator(torch.tensor([[0.0, 0.0], [-1.0, 2.0], [1.0, -2.0]]))
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])
    assert_close(recorder.last.cosines, expected.double())
    assert recorder.last.conflict_rate == pytest.approx(1 / 3)


def test_one_objective_has_no_conflict():
    aggregator = WeightedAggregator(Equal())
    with Recorder(aggregator) as recorder:
        aggregator(torch.tensor([[-3.0, 4.0]]))
    assert (recorder.last.conflict_rate, recorder.last.cosines.tolist()) == (0.0, [[1.0]])


@every_aggregator
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(name, value):
    aggregator, matrix = AGGREGATORS[name](), rows()
    matrix[1, 2] = value
    with Recorder(aggregator, every=1) as recorder:
        aggregator(matrix, **INPUTS)
    record = recorder.last
    assert record.norms.isfinite().tolist() == [True, False, True]
    assert not record.cosines[1].isfinite().all()
    assert not record.predicted_decrease.isfinite().all()
    assert not torch.tensor(record.conflict_rate).isfinite()


def test_what_is_kept_is_not_written_to_later():
    aggregator = WeightedAggregator(Kept())
    matrix = rows()
    with Recorder(aggregator) as recorder:
        for _ in range(3):
            aggregator(matrix)
            matrix.zero_()
    assert [record.weights.tolist() for record in recorder.records] == [
        [1.0] * 3,
        [2.0] * 3,
        [3.0] * 3,
    ]
    assert_close(recorder.records[0].gramian, oracle(rows()))


def test_a_weighting_shows_its_calls():
    gramian = oracle(rows())
    cases = {
        "gramian": (InverseSquare(), gramian.float(), gramian),
        "generalized": (OfShape(), gramian.expand(2, 2, 3, 3).movedim(1, -1), None),
        "jacobian": (OfRows(), rows(), gramian),
        "row count": (Equal(), rows()[:, :0], None),
        "cross gramian": (OfTwoBatches(), gramian, None),
        "losses": (OfLosses(), gramian, gramian),
    }
    for name, (weighting, stat, expected) in cases.items():
        with Recorder(weighting, every=1) as recorder:
            weights = weighting(stat, losses=INPUTS["losses"])
        assert torch.equal(recorder.last.weights, weights.flatten()), name
        if name == "generalized":
            assert recorder.last.gramian.shape == (6, 6)
        elif expected is None:
            assert recorder.last.gramian is recorder.last.predicted_decrease is None
            assert recorder.last.cosines is recorder.last.conflict_rate is None
        else:
            assert_close(recorder.last.gramian.float(), expected)


def test_a_generalized_gramian_is_in_the_order_of_the_losses():
    model, engine = net(), None
    engine = Engine(model)
    losses = model(batch()).square()
    weighting = OfShape()
    with Recorder(weighting) as recorder:
        weights = weighting(engine.compute_gramian(losses))
    matrix = jacobian_of(model, losses)
    assert_close(recorder.last.gramian, oracle(matrix))
    assert torch.equal(recorder.last.weights, weights.flatten())


@pytest.mark.parametrize("mode", ["reuse", "stream"])
@pytest.mark.parametrize("weighting", [OfShape, None], ids=["reads", "does not read"])
@pytest.mark.parametrize("every", [None, 1, 2])
def test_an_engine_shows_its_steps_and_does_not_notice(mode, weighting, every):
    results = []
    for observed in (False, True):
        model = net()
        engine = Engine(model, mode=mode)
        recorder = Recorder(engine, every=every)
        if observed:
            recorder.attach()
        for _ in range(3):
            losses = model(batch()).square()
            shaped = losses if weighting else losses.sum(dim=1)
            matrix = jacobian_of(model, shaped)
            results.append(engine.backward(shaped, (weighting or Equal)()))
        recorder.detach()
        results += [parameter.grad for parameter in model.parameters()]
    half = len(results) // 2
    assert all(map(torch.equal, results[:half], results[half:]))
    steps = [record.step for record in recorder.records]
    assert steps == {1: [0, 1, 2], 2: [0, 2], None: [0, 1, 2] if weighting else [0]}[every]
    record = recorder.last
    assert_close(record.gramian, oracle(matrix))
    assert torch.equal(record.weights, results[-5].flatten())
    assert torch.equal(record.losses, shaped.detach().flatten())
    assert_close(record.predicted_decrease, matrix @ (matrix.T @ record.weights))


def test_an_engine_computes_a_gramian_only_for_steps_that_are_recorded(monkeypatch):
    model = net()
    engine, computed = Engine(model), []
    execute = Engine._execute
    monkeypatch.setattr(Engine, "_execute", lambda *a: computed.append(1) or execute(*a))
    with Recorder(engine, every=3) as recorder:
        for _ in range(6):
            engine.backward(model(batch()).square().sum(dim=1), Equal())
    assert (len(recorder.records), len(computed)) == (2, 2)


def test_a_gramian_that_an_engine_returns_is_recorded_without_weights():
    model = net()
    engine = Engine(model)
    losses = model(batch()).square().sum(dim=1)
    with Recorder(engine) as recorder:
        gramian = engine.compute_gramian(losses)
        expected = gramian.double().clone()
        gramian.zero_()
        engine.check(losses)  # is no step
    (record,) = recorder.records
    assert torch.equal(record.gramian, expected)
    assert record.weights is record.predicted_decrease is None


@pytest.mark.parametrize("name", ["row count", "gramian", "own forward", "by parts", "changed sum"])
def test_the_parameters_of_a_model_as_blocks(name):
    aggregator, model = AGGREGATORS[name](), net()
    losses = model(batch()).square().mean(dim=0)
    matrix = jacobian_of(model, losses)
    with Recorder(aggregator, names=["left", "right"]) as recorder:
        torchjd.backward(losses, model.parameters(), aggregator)
    update = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    (record,) = recorder.records
    assert record.names == ("left", "right")
    assert_close(record.gramian, oracle(matrix))
    assert_close(record.predicted_decrease, matrix @ update)


def test_a_forward_hook_that_changes_the_update_is_seen():
    aggregator = inverse_square()
    aggregator.register_forward_hook(lambda module, inputs, output: 3 * output)
    matrix = rows()
    with Recorder(aggregator) as recorder:
        update = aggregator(matrix)
        aggregator.aggregate_blocks(split(matrix))
    assert len(recorder.records) == 2
    for record in recorder.records:
        assert_close(record.predicted_decrease, matrix @ update)


def test_how_often_it_records():
    for every, make, expected in [
        (None, inverse_square, [*range(45)]),
        (None, lambda: WeightedAggregator(Equal()), [0, 20, 40]),
        (None, Median, [0, 20, 40]),
        (1, Median, [*range(45)]),
        (7, inverse_square, [0, 7, 14, 21, 28, 35, 42]),
    ]:
        aggregator = make()
        with Recorder(aggregator, every=every) as recorder:
            for _ in range(45):
                aggregator(rows())
        assert [record.step for record in recorder.records] == expected


@pytest.mark.parametrize("make", [lambda: WeightedAggregator(Equal()), Median])
def test_gramians_of_many_rows_are_computed_less_often(make):
    aggregator = make()
    with Recorder(aggregator) as recorder:
        for _ in range(60):
            aggregator(rows(m=30))
    assert [record.step for record in recorder.records] == [0, 30]


def test_steps_are_counted_while_attached():
    aggregator = inverse_square()
    recorder = Recorder(aggregator)
    for _ in range(2):
        with recorder:
            aggregator(rows())
            assert recorder.attach() is recorder  # is attached already
        aggregator(rows())
    recorder.detach()
    assert [record.step for record in recorder.records] == [0, 1]


def test_the_history_is_bounded(monkeypatch):
    aggregator = inverse_square()
    with Recorder(aggregator, history=3) as recorder:
        for seed in range(5):
            aggregator(rows(seed))
    assert [record.step for record in recorder.records] == [2, 3, 4]
    assert recorder.last is recorder.records[-1]
    monkeypatch.setattr("torchjd.monitor._recorder._MOST_BYTES", 2 * 9 * 8)
    with recorder:
        for seed in range(5):
            aggregator(rows(seed))
        assert [record.step for record in recorder.records] == [8, 9]
        aggregator(rows(m=9))
    assert [record.step for record in recorder.records] == [10]


def test_several_recorders_and_several_targets():
    one, other = inverse_square(), inverse_square()
    with Recorder(one) as first, Recorder(one, every=2) as second, Recorder(other) as third:
        for _ in range(3):
            one(rows())
        other(rows(1))
        first.detach()
        one(rows())
    assert [len(recorder.records) for recorder in (first, second, third)] == [3, 2, 1]
    assert_close(third.last.gramian, oracle(rows(1)))


def test_an_observed_target_is_not_kept_alive():
    aggregator = inverse_square()
    recorder = Recorder(aggregator).attach()
    aggregator(rows())
    alive = weakref.ref(aggregator)
    del aggregator
    gc.collect()
    assert alive() is None
    assert len(recorder.records) == 1
    recorder.detach()
    with pytest.raises(RuntimeError, match=r"`target` must be alive .* Got one that is gone"):
        recorder.attach()


def test_a_compiled_weighting_is_traced_whole_whoever_looks_on():
    torch.compiler.reset()
    weighting, gramian = InverseSquare(), oracle(rows())
    compiled = torch.compile(weighting, fullgraph=True, backend="eager")
    expected = weighting(gramian)
    assert torch.equal(compiled(gramian), expected)
    others = [inverse_square() for _ in range(20)]  # more than there may be recompilations
    with Recorder(weighting) as recorder:
        assert torch.equal(compiled(gramian), expected)
        for other in others:
            with Recorder(other):
                assert torch.equal(compiled(gramian), expected)
    assert recorder.records == []
    model = net()
    engine = Engine(model)
    with Recorder(engine) as recorder:
        weights = engine.backward(model(batch()).square().sum(dim=1), compiled)
    assert torch.equal(recorder.last.weights, weights)


def test_a_compiled_weighting_is_compiled_twice_at_most():
    torch.compiler.reset()
    weighting, other, gramian = InverseSquare(), inverse_square(), oracle(rows())
    compiled = torch.compile(weighting, fullgraph=True, backend="eager")
    with Recorder(weighting):
        compiled(gramian)
    compiled(gramian)
    with torch._dynamo.config.patch(error_on_recompile=True):
        with Recorder(other):
            compiled(gramian)
        with Recorder(weighting):
            compiled(gramian)
        compiled(gramian)


class Sink:
    """Takes records, at once or once they are complete."""

    def __init__(self, waits=False):
        self.waits, self.records, self.flushed = waits, [], 0

    def __call__(self, record):
        self.records.append(record)

    def flush(self):
        self.flushed += 1


def test_when_records_are_handed_on():
    now, later, plain, aggregator = Sink(), Sink(waits=True), [], inverse_square()
    with Recorder(aggregator, to=[now, later, plain.append]) as recorder:
        aggregator(rows())
        assert (len(now.records), len(later.records), len(plain)) == (1, 0, 1)
        recorder.measure(after=[0.0, 0.0, 0.0], before=[1.0, 2.0, 3.0])
        assert [record.decrease.tolist() for record in later.records] == [[1.0, 2.0, 3.0]]
        assert now.records[0].decrease is None
        assert recorder.last is later.records[0]
        aggregator(rows())
        assert len(later.records) == 1
        aggregator(rows())
        assert [record.step for record in later.records] == [0, 1]
        assert later.records[1].decrease is None
    assert [record.step for record in later.records] == [0, 1, 2]
    assert [record.step for record in now.records] == [0, 1, 2]
    assert (now.flushed, later.flushed) == (1, 1)


def test_one_callable_will_do():
    found, aggregator = [], inverse_square()
    with Recorder(aggregator, to=found.append):
        aggregator(rows())
    assert len(found) == 1


def test_what_a_callback_raises_goes_through():
    aggregator = inverse_square()

    def refuse(record):
        raise ArithmeticError("enough")

    with Recorder(aggregator, to=refuse), pytest.raises(ArithmeticError, match="enough"):
        aggregator(rows())
    with Recorder(aggregator) as recorder:  # and leaves nothing behind
        aggregator(rows())
    assert len(recorder.records) == 1


@pytest.mark.parametrize("at", ["aggregator", "weighting"])
def test_weights_that_are_refused_are_refused_as_ever(at):
    aggregator = WeightedAggregator(Refused())
    target = aggregator if at == "aggregator" else aggregator.weighting
    refused = pytest.raises(ValueError, match=r"`Refused` must return one weight per row")
    with Recorder(target, names=["a", "b", "c"]) as recorder, refused:
        aggregator(rows())
    assert recorder.records == []


def test_a_callable_that_raises_does_not_keep_others_from_writing():
    def refuse(record):
        raise ArithmeticError("enough")

    refuse.waits = True
    sink, aggregator = Sink(), inverse_square()
    recorder = Recorder(aggregator, to=[refuse, sink]).attach()
    aggregator(rows())
    with pytest.raises(ArithmeticError, match="enough"):
        recorder.detach()
    assert sink.flushed == 1


def test_what_an_aggregator_raises_leaves_nothing_behind():
    aggregator = Median()
    aggregator.forward = None
    with Recorder(aggregator, every=1) as recorder:
        with pytest.raises(TypeError, match="not callable"):
            aggregator(rows())
        del aggregator.forward
        aggregator(rows())
    assert [record.step for record in recorder.records] == [0]


def test_the_decrease_is_measured():
    """With a small step, what was predicted is what happens."""
    model, aggregator = net(), inverse_square()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with Recorder(aggregator, learning_rate=1e-6) as recorder:
        before = model(batch()).square().mean(dim=0)
        torchjd.backward(before, model.parameters(), aggregator)
        optimizer.step()
        recorder.measure(model(batch()).square().mean(dim=0), before)
    record = recorder.last
    assert (record.decrease > 0).any()
    torch.testing.assert_close(record.decrease, record.predicted_decrease, rtol=1e-3, atol=0.0)


def test_losses_that_are_known_need_not_be_given():
    aggregator = WeightedAggregator(OfLosses())
    with Recorder(aggregator) as recorder:
        aggregator(rows(), **INPUTS)
        recorder.measure([0.25, torch.tensor(0.5), 1])
    assert recorder.last.decrease.tolist() == [0.25, 0.5, 1.0]


def test_a_step_that_was_not_recorded_is_not_measured():
    aggregator = inverse_square()
    with Recorder(aggregator, every=2) as recorder:
        for expected in (True, False, True):
            aggregator(rows())
            assert recorder.recorded is expected
            recorder.measure([1.0] * 3, [2.0 + len(recorder.records)] * 3)
    assert [record.decrease.tolist() for record in recorder.records] == [[2.0] * 3, [3.0] * 3]


def test_measurements_are_checked():
    aggregator = inverse_square()
    with Recorder(aggregator) as recorder:
        with pytest.raises(RuntimeError, match=r"`measure` must be called once after.*no step yet"):
            recorder.measure([1.0])
        aggregator(rows())
        with pytest.raises(TypeError, match=r"`before` must be given.*Got None"):
            recorder.measure([1.0] * 3)
        with pytest.raises(ValueError, match="`after` must have one element per objective, 3"):
            recorder.measure([1.0], [1.0] * 3)
        with pytest.raises(ValueError, match=r"`before` must have one element.* Got 4"):
            recorder.measure([1.0] * 3, torch.ones(4))
        with pytest.raises(TypeError, match=r"`after` must be a tensor.*Got 'low'"):
            recorder.measure(["low"] * 3, [1.0] * 3)
        recorder.measure([1.0] * 3, [1.0] * 3)
        with pytest.raises(RuntimeError, match="Got a second call for the same step"):
            recorder.measure([1.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"target": InverseSquare}, TypeError, "`target` must be .* Got the class InverseSquare"),
        ({"target": torch.nn.Linear(1, 1)}, TypeError, "`target` must be .* Got Linear"),
        ({"names": "ab"}, TypeError, "`names` must be a sequence of strings, or None. Got 'ab'"),
        ({"names": [1, 2]}, TypeError, r"`names` must be a sequence of strings.*Got \[1, 2\]"),
        ({"names": 3}, TypeError, "`names` must be a sequence of strings"),
        ({"names": ["a", "a"]}, ValueError, "`names` must be different from one another"),
        ({"names": []}, ValueError, "`names` must be different"),
        ({"every": 0}, ValueError, "`every` must be at least 1. Got 0"),
        ({"every": 1.5}, TypeError, "`every` must be an int. Got float"),
        ({"history": 0}, ValueError, "`history` must be at least 1. Got 0"),
        ({"history": True}, TypeError, "`history` must be an int. Got bool"),
        ({"learning_rate": "0.1"}, TypeError, "`learning_rate` must be a number. Got str"),
        ({"learning_rate": -1.0}, ValueError, "`learning_rate` must be finite, and at least 0"),
        ({"learning_rate": torch.nan}, ValueError, "`learning_rate` must be finite.*Got nan"),
        ({"to": "run.csv"}, TypeError, "`to` must be a callable that takes a Record.*CsvWriter"),
        ({"to": [print, 3]}, TypeError, "`to` must be a callable.*Got 3"),
        ({"to": Sink}, TypeError, "`to` must be a callable.*Got the class Sink"),
    ],
)
def test_arguments_are_checked(settings, error, match):
    with pytest.raises(error, match=match):
        Recorder(**({"target": inverse_square()} | settings))


def test_names_must_be_as_many_as_the_objectives():
    aggregator = inverse_square()
    with Recorder(aggregator, names=["a", "b"]) as recorder:
        with pytest.raises(ValueError, match=r"`names` must be one for each objective, 3. Got 2"):
            aggregator(rows())
        recorder.names = ["a", "b", "c"]
        aggregator(rows())
        recorder.names = None
        aggregator(rows())
        recorder.learning_rate = 2.0
        aggregator(rows())
    assert [record.names[0] for record in recorder.records] == ["a", "0", "0"]
    assert (recorder.learning_rate, recorder.names) == (2.0, None)
    ratio = recorder.last.predicted_decrease / recorder.records[0].predicted_decrease
    assert_close(ratio, torch.full((3,), 2.0, dtype=torch.float64))


def test_a_record_is_frozen_and_says_what_it_has():
    record = Record(step=3, names=("a",), weights=torch.ones(1))
    with pytest.raises(AttributeError, match="cannot assign to field 'step'"):
        record.step = 4
    assert repr(record) == "Record(step=3, names=('a',), with weights)"
    assert record.norms is record.decrease is None


def test_jacobians_in_jac_are_recorded_too():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    backward([x.sum(), x.prod()])
    aggregator = inverse_square()
    with Recorder(aggregator) as recorder:
        weights = jac_to_grad([x], aggregator)
    assert torch.equal(recorder.last.weights, weights)
    assert_close(recorder.last.gramian, oracle(torch.tensor([[1.0, 1.0], [2.0, 1.0]])))
