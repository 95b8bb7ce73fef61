"""The scale of each objective: how it moves, what it skips, and what it is saved as."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

import jd_amp
from jd_amp import JacobianScaler
from torchjd import autojac

from .methods import Total
from .tasks import jacobian, stock

BIG = 1e30  # its square is beyond float32


def vector():
    return nn.Parameter(torch.tensor([1.0, 2.0]))


def losses_of(x, *bad):
    """Return three losses, of which the gradients of those in ``bad`` are infinite."""
    return [x.sum() * (BIG * BIG if i in bad else 1.0) for i in range(3)]


def pass_over(scaler, x, *bad):
    x.jac = None
    scaler.backward(losses_of(x, *bad))


def run(scaler, x, *steps):
    for bad in steps:
        pass_over(scaler, x, *bad)
        scaler.update()
    return scaler.scales().tolist()


def test_what_comes_out_is_not_scaled():
    x, y = vector(), vector()
    scaler = jacobian()
    scaler.backward([x.prod(), x.sum()], inputs=[x])
    autojac.backward([y.prod(), y.sum()], inputs=[y])
    assert torch.equal(x.jac, y.jac)
    assert scaler.scales().tolist() == [1024.0, 1024.0]


def test_arguments_are_those_of_the_core():
    x, y = vector(), vector()
    cotangents = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    scaler = jacobian()
    scaler.backward(x * x, jac_tensors=cotangents, retain_graph=True, parallel_chunk_size=1)
    autojac.backward(y * y, jac_tensors=cotangents)
    assert torch.equal(x.jac, y.jac)
    assert len(scaler.scales()) == 3
    scaler.backward(iter([x[0] * 2, x]), inputs=iter([x]))  # three rows again


def test_mtl_arguments_are_those_of_the_core():
    found = []
    for backward in (autojac.mtl_backward, jacobian().mtl_backward):
        x, heads = vector(), [vector(), vector()]
        features = 2 * x
        losses = (features * head for head in heads)  # of two elements each
        backward(
            tensors=losses,
            features=features,
            grad_tensors=[torch.ones(2), torch.tensor([1.0, 3.0])],
            tasks_params=[[head] for head in heads],
            shared_params=[x],
        )
        found.append([x.jac, *(head.grad for head in heads)])
    assert all(map(torch.equal, *found))


def halves(x):
    return [x.detach()[0].half().requires_grad_()]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda s, x: s.backward(3), TypeError, "`tensors` must be a tensor or an iterable"),
        (lambda s, x: s.backward([x.sum(), 3]), TypeError, "`tensors` must contain tensors only"),
        (lambda s, x: s.backward([]), ValueError, "`tensors` must contain at least one"),
        (lambda s, x: s.backward({"a": x.sum()}), TypeError, "Got dict"),
        (lambda s, x: s.backward(x, jac_tensors=torch.ones(())), ValueError, "`jac_tensors"),
        (lambda s, x: s.mtl_backward(), TypeError, "`losses` must be given"),
        (lambda s, x: s.mtl_backward([x.sum()] * 3, tensors=[x.sum()]), TypeError, "Got both"),
        (lambda s, x: s.mtl_backward([x] * 3), ValueError, "must have one element"),
        (lambda s, x: s.backward(halves(x) * 3, inputs=halves(x)), TypeError, "float16"),
        (
            lambda s, x: s.backward([x.sum()] * 2),
            ValueError,
            "`tensors` must be the 3 objectives.*Got 2. Use one JacobianScaler for each set",
        ),
        (lambda s, x: s.mtl_backward([x.sum()] * 4), ValueError, "`losses` must be the 3.*Got 4"),
        (
            lambda s, x: s.mtl_backward(tensors=[x.sum()] * 4),
            ValueError,
            "`tensors` must be the 3",
        ),
    ],
)
def test_refusals(call, error, match):
    x, scaler = vector(), jacobian()
    pass_over(scaler, x)
    before = scaler.state_dict()
    x.jac = None
    with pytest.raises(error, match=match):
        call(scaler, x)
    assert x.jac is None
    assert scaler.state_dict() == before


def test_a_refused_call_binds_nobody_to_its_number_of_objectives():
    x, scaler = vector(), jacobian()
    with pytest.raises(ValueError, match="require grad"):
        scaler.backward([x.sum(), torch.ones(())])
    pass_over(scaler, x)
    assert len(scaler.scales()) == 3


@pytest.mark.parametrize(
    ("value", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (torch.inf, ValueError), ("1", TypeError)],
)
def test_a_scale_is_positive_and_finite(value, error):
    with pytest.raises(error, match="`init_scale` must be"):
        JacobianScaler("cpu", init_scale=value)
    scaler = jacobian()
    with pytest.raises(error, match="`new_scale` must be"):
        scaler.update(value)


def test_only_the_objective_that_overflows_backs_off():
    scaler = jacobian(growth_interval=100)
    assert run(scaler, vector(), (), (1,), (), (1, 2)) == [1024.0, 256.0, 512.0]
    assert scaler.get_scale() == 256.0


def test_growth_counts_for_each_objective_by_itself():
    scaler = jacobian(growth_interval=2, growth_factor=4.0)
    assert run(scaler, vector(), (), (2,)) == [4096.0, 4096.0, 512.0]
    assert run(scaler, vector(), ()) == [4096.0, 4096.0, 512.0]
    assert run(scaler, vector(), ()) == [4 * 4096.0, 4 * 4096.0, 2048.0]


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_the_scale_of_one_objective_moves_as_that_of_a_stock_scaler(interval):
    bad = torch.rand(30, generator=torch.Generator().manual_seed(0)) < 0.25
    scaler, other = jacobian(growth_interval=interval), stock(growth_interval=interval)
    x, y = vector(), vector()
    optimizer = SGD([y], lr=0.0)
    found, expected = [], []
    for factor in torch.where(bad, torch.inf, 1.0):
        x.jac, y.grad = None, None
        scaler.backward([x.sum() * factor])
        scaler.update()
        found.append(scaler.get_scale())
        other.scale(y.sum() * factor).backward()
        other.step(optimizer)
        other.update()
        expected.append(other.get_scale())
    assert found == expected
    assert len(set(found)) > 2  # up and down


def test_scales_stay_where_they_and_their_reciprocals_are_exact():
    up = jacobian(growth_interval=1, growth_factor=2.0**40)
    down = jacobian(backoff_factor=2.0**-40)
    zero = nn.Parameter(torch.zeros(2))  # overflows with no scale
    for _ in range(6):
        up.backward([(zero * zero).sum()] * 3)
        up.update()
        zero.jac = None
        pass_over(down, vector(), 0)
        down.update()
    assert up.scales().tolist() == [2.0**126] * 3
    assert down.scales().tolist() == [2.0**-126, 1024.0, 1024.0]


def test_an_interval_that_has_passed_by_the_time_it_is_set():
    scaler = jacobian()
    run(scaler, vector(), (), (), ())
    scaler.set_growth_interval(2)
    assert run(scaler, vector(), (), ()) == [2048.0] * 3


def test_growth_does_not_lower_a_scale_that_was_set_higher():
    scaler = jacobian(init_scale=2.0**127, growth_interval=1)
    zero = nn.Parameter(torch.zeros(2))
    scaler.backward([(zero * zero).sum()])
    scaler.update()
    assert scaler.get_scale() == 2.0**127


def test_an_overflow_of_one_of_several_passes_is_remembered_until_the_update():
    x, scaler = vector(), jacobian()
    pass_over(scaler, x, 1)
    pass_over(scaler, x)
    assert scaler.overflowed().tolist() == [False, True, False]
    scaler.update()
    assert scaler.overflowed() is None
    assert scaler.scales().tolist() == [1024.0, 512.0, 1024.0]


@pytest.mark.parametrize("unscale", ["not", "before the pass", "after the pass"])
@pytest.mark.parametrize(
    "make",
    [
        lambda params: SGD(params, lr=0.1, momentum=0.9),
        lambda params: Adam(params, lr=0.1),
        lambda params: Adam(params, lr=0.1, fused=True),
    ],
    ids=["SGD", "Adam", "fused Adam"],
)
@pytest.mark.parametrize("bad", [(), (0,), (0, 2)])
def test_a_step_is_skipped_for_every_optimizer(make, bad, unscale):
    x, other, scaler = vector(), vector(), jacobian()
    optimizer = make([other])  # of parameters that the objectives know nothing of
    other.grad = torch.ones(2)
    scaler.scale(x)
    if unscale == "before the pass":
        scaler.unscale_(optimizer)
    pass_over(scaler, x, *bad)
    if unscale == "after the pass":
        scaler.unscale_(optimizer)
    before = other.detach().clone()
    assert scaler.step(optimizer) is None
    assert torch.equal(other, before) == bool(bad)
    scaler.update()
    other.grad = torch.ones(2)
    pass_over(scaler, x)
    scaler.step(optimizer)
    assert not torch.equal(other, before)
    assert bool(other.isfinite().all())


def test_what_was_unscaled_before_the_last_update_does_not_count():
    x, other, scaler = vector(), vector(), jacobian()
    optimizer = Adam([other], lr=0.1, fused=True)
    other.grad = torch.ones(2)
    pass_over(scaler, x)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    before = other.detach().clone()
    pass_over(scaler, x, 0)
    scaler.step(optimizer)
    assert torch.equal(other, before)


@pytest.mark.parametrize("grad", ["sparse", "expanded", "empty first"])
@pytest.mark.parametrize("unscale", [True, False])
def test_a_step_is_skipped_whatever_its_gradients_are_like(grad, unscale):
    x, other, scaler = vector(), vector(), jacobian()
    empty = nn.Parameter(torch.zeros(0))
    optimizer = SGD([empty, other], lr=0.1)
    if grad == "empty first":
        empty.grad = torch.zeros(0)
        other.grad = torch.ones(2)
    else:
        ones = torch.ones(1)
        other.grad = ones.expand(2) if grad == "expanded" else torch.ones(2).to_sparse()
    pass_over(scaler, x, 1)
    if unscale and grad != "expanded":  # which no scaler can unscale
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert other.tolist() == [1.0, 2.0]


def test_the_smallest_scale_is_no_sign_of_a_skip_and_overflowed_is():
    x, scaler = vector(), jacobian()
    run(scaler, x, (0,))
    before = scaler.get_scale()
    pass_over(scaler, x, 1)
    assert bool(scaler.overflowed().any())
    scaler.update()
    assert scaler.get_scale() == before == 512.0


def test_what_is_not_finite_for_another_reason_is_skipped_too():
    x, other, scaler = vector(), vector(), jacobian()
    other.grad = torch.tensor([torch.nan, 0.0])
    pass_over(scaler, x)
    scaler.step(SGD([other], lr=0.1))
    scaler.update()
    assert other.tolist() == [1.0, 2.0]
    assert scaler.scales().tolist() == [1024.0] * 3  # no scale is to blame


def test_head_gradients_that_overflow_count():
    trunk, head, scaler = vector(), nn.Parameter(torch.zeros(2)), jacobian()
    features = trunk * BIG
    # With a head of zeros, nothing of the first loss reaches the trunk, but its own is infinite.
    scaler.mtl_backward([(features * head).sum() * BIG, trunk.sum()], [features, trunk * 1])
    assert bool(trunk.jac.isfinite().all())
    assert scaler.overflowed().tolist() == [True, False]
    jd_amp.jac_to_grad([trunk], Total(), scaler=scaler)
    assert bool(trunk.grad.isnan().all())
    scaler.step(SGD([trunk], lr=0.1))
    assert trunk.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("method", ["step", "unscale_"])
def test_nothing_happens_twice(method):
    x, scaler = vector(), jacobian()
    optimizer = SGD([x], lr=0.1)
    pass_over(scaler, x)
    x.grad = torch.ones(2)
    getattr(scaler, method)(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        getattr(scaler, method)(optimizer)


@pytest.mark.parametrize("method", ["step", "unscale_", "update"])
def test_a_pass_of_the_core_in_place_of_its_own_is_told(method):
    x, scaler = vector(), jacobian()
    optimizer = SGD([x], lr=0.1)
    autojac.backward(losses_of(x))
    arguments = [] if method == "update" else [optimizer]
    with pytest.raises(RuntimeError, match=f"`{method}` must be called after `backward` or `mtl_"):
        getattr(scaler, method)(*arguments)


def test_update_warns_once_where_nothing_was_scaled():
    x, scaler = vector(), jacobian()
    optimizer = SGD([x], lr=0.1)

    def plain_step():
        optimizer.zero_grad()
        scaler.scale(x.sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    with pytest.warns(UserWarning, match="Nothing was scaled since the last `update`") as caught:
        plain_step()
    assert [warning.filename for warning in caught] == [__file__]
    plain_step()  # a second warning would be an error
    assert torch.allclose(x, torch.tensor([0.8, 1.8]))


def test_a_loss_that_is_scaled_beside_the_objectives_is_no_mistake():
    x, scaler = vector(), jacobian()
    loss = x.sum()
    assert torch.equal(scaler.scale(loss), loss)
    assert [scaled.item() for scaled in scaler.scale([loss, 2 * loss])] == [3.0, 6.0]
    pass_over(scaler, x)
    scaler.update()


@pytest.mark.parametrize("new", [8.0, 8, torch.tensor(8.0), torch.tensor([8.0])])
def test_all_scales_can_be_set(new):
    x, scaler = vector(), jacobian()
    scaler.update(new)
    assert scaler.get_scale() == 8.0
    pass_over(scaler, x, 1)
    scaler.update(2.0 * new)
    assert scaler.scales().tolist() == [16.0] * 3
    with pytest.raises(TypeError, match=r"`new_scale` must be a number.*Got shape \[2\]"):
        scaler.update(torch.ones(2))


def test_disabled_it_is_the_core():
    x, y, scaler = vector(), vector(), jacobian(enabled=False)
    scaler.backward([x.prod(), x.sum()])
    scaler.mtl_backward([x.prod(), x.sum()])
    autojac.backward([y.prod(), y.sum()])
    autojac.mtl_backward([y.prod(), y.sum()])
    assert torch.equal(x.jac, y.jac)
    assert (scaler.scales(), scaler.overflowed(), scaler.get_scale()) == (None, None, 1.0)
    assert scaler.state_dict() == {}
    scaler.load_state_dict({})
    x.grad = torch.tensor([torch.nan, 1.0])
    optimizer = SGD([x], lr=1.0)
    loss = x.sum()
    assert scaler.scale(loss) is loss
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert x[1].item() == 1.0
    assert not pickle.loads(pickle.dumps(scaler)).is_enabled()


def test_without_a_gpu_it_is_disabled_as_the_stock_one_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = JacobianScaler()
    assert isinstance(scaler, torch.amp.GradScaler)
    assert not scaler.is_enabled()


def test_settings_are_those_of_the_stock_one():
    scaler = jacobian()
    scaler.set_growth_interval(1)
    scaler.set_growth_factor(8.0)
    scaler.set_backoff_factor(0.25)
    assert run(scaler, vector(), (1,)) == [8192.0, 256.0, 8192.0]


def trained(steps=5):
    scaler = jacobian(growth_interval=3)
    run(scaler, vector(), *[(1,), (), (), (2,), (), (0,), ()][:steps])
    return scaler


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda scaler: pickle.loads(pickle.dumps(scaler)),
        lambda scaler: loaded(jacobian(), scaler.state_dict()),
        lambda scaler: loaded(trained(1), scaler.state_dict()),
    ],
    ids=["deepcopy", "pickle", "state_dict", "state_dict of one in use"],
)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_copy_goes_on_as_the_original_does(copied, steps):
    scaler = trained(steps) if steps else jacobian(growth_interval=3)
    other = copied(scaler)
    assert other.state_dict() == scaler.state_dict()
    for bad in [(), (0,), (), (), ()]:
        assert run(other, vector(), bad) == run(scaler, vector(), bad)
    x = vector()
    optimizer = SGD([x], lr=1.0)
    pass_over(other, x)
    x.grad = torch.ones(2)
    other.step(optimizer)
    assert x.tolist() == [0.0, 1.0]  # the scale of the base class is 1


def loaded(scaler, state):
    scaler.load_state_dict(state)
    return scaler


class Own(JacobianScaler):
    def __init__(self, name):
        super().__init__("cpu")
        self.name = name


def test_a_subclass_is_copied_with_what_it_has():
    assert copy.deepcopy(Own("mine")).name == "mine"


def test_a_copy_within_an_iteration_is_refused_as_of_the_stock_one():
    x, scaler = vector(), jacobian()
    pass_over(scaler, x)
    scaler.unscale_(SGD([x], lr=1.0))
    with pytest.raises(AssertionError, match="may only be pickled at the beginning"):
        copy.deepcopy(scaler)


def test_the_checkpoint_of_a_stock_scaler():
    x, old = vector(), stock(init_scale=64.0, growth_interval=3, growth_factor=4.0)
    optimizer = SGD([x], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        old.scale(x.sum()).backward()
        old.step(optimizer)
        old.update()
    for scaler in (jacobian(), trained()):
        scaler.load_state_dict(old.state_dict())
        assert scaler.get_scale() == 64.0
        assert run(scaler, vector(), ()) == [256.0] * 3  # the third step in a row


def test_a_stock_scaler_loads_its_checkpoint():
    old, new = trained(), stock()
    new.load_state_dict(old.state_dict())
    assert new.get_scale() == old.get_scale() == min(old.scales().tolist())


def test_a_checkpoint_is_readable_without_this_library():
    state = trained().state_dict()
    torch.save(state, buffer := io.BytesIO())
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == state


def test_a_checkpoint_of_other_objectives_is_refused_at_use():
    scaler = loaded(jacobian(), trained().state_dict())
    x = vector()
    with pytest.raises(ValueError, match="must be the 3 objectives that this scaler has a scale"):
        scaler.backward([x.sum()] * 2)


def test_the_checkpoint_of_a_scale_that_collapsed_is_refused():
    with pytest.raises(ValueError, match=r"`state_dict\['scale'\]` must be positive.*Got 0\.0"):
        jacobian().load_state_dict({**stock().state_dict(), "scale": 0.0})


def test_an_empty_checkpoint_is_refused():
    with pytest.raises(RuntimeError, match="state dict is empty"):
        jacobian().load_state_dict({})


def test_nothing_is_warned_of_in_a_loop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained()
