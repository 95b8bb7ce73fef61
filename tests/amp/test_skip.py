"""Steps of an optimizer with gradients that are not finite."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lbfgs import LBFGS

import jd_amp

OPTIMIZERS = {
    "SGD": lambda params: SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda params: Adam(params, lr=0.1, weight_decay=0.1),
    "fused Adam": lambda params: Adam(params, lr=0.1, fused=True),
}


def two():
    return [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("closure", ["none", "first", "by name"])
def test_a_step_with_an_infinite_gradient_does_nothing(name, closure, bad):
    params = two()
    optimizer = OPTIMIZERS[name]([{"params": params[:1]}, {"params": params[1:]}])
    handle = jd_amp.skip_nonfinite_steps(optimizer)

    def step(value):
        def differentiate():
            params[0].grad = torch.ones(2)
            params[1].grad = torch.tensor([1.0, value, 1.0])
            return 7.0

        if closure == "none":
            differentiate()
            return optimizer.step()
        optimizer.zero_grad()
        return (
            optimizer.step(differentiate)
            if closure == "first"
            else optimizer.step(closure=differentiate)
        )

    step(1.0)
    before = [p.detach().clone() for p in params]
    remembered = {i: dict(state) for i, state in optimizer.state_dict()["state"].items()}
    remembered = [v.clone() for s in remembered.values() for v in s.values() if v is not None]
    assert step(bad) == (None if closure == "none" else 7.0)
    assert all(map(torch.equal, params, before))
    assert all(parameter.grad is None for parameter in params)
    now = [v for s in optimizer.state_dict()["state"].values() for v in s.values() if v is not None]
    assert all(map(torch.equal, now, remembered))
    step(1.0)
    assert not any(map(torch.equal, params, before))
    handle.remove()
    step(bad)
    assert bool(params[1].isnan().any()) or bool(params[1].isinf().any())


def test_what_calls_the_closure_again_and_again():
    (x, _) = two()
    optimizer = LBFGS([x])
    jd_amp.skip_nonfinite_steps(optimizer)

    def closure():
        x.grad = torch.full((2,), torch.nan)
        return torch.tensor(1.0)

    optimizer.step(closure)
    assert x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [False, True])
def test_sparse_gradients(bad):
    x, y = two()
    optimizer = SGD([x, y], lr=1.0)
    jd_amp.skip_nonfinite_steps(optimizer)
    x.grad = torch.tensor([torch.inf if bad else 0.5, 0.0]).to_sparse()
    optimizer.step()
    assert x.tolist() == ([1.0, 1.0] if bad else [0.5, 1.0])


def test_no_gradient_at_all():
    optimizer = SGD(two(), lr=1.0)
    jd_amp.skip_nonfinite_steps(optimizer)
    optimizer.step()


def test_it_is_for_optimizers():
    with pytest.raises(TypeError, match=r"`optimizer` must be .* Got list"):
        jd_amp.skip_nonfinite_steps(two())


@pytest.mark.parametrize(
    ("first", "second", "dropped"),
    [
        (torch.ones(2), torch.ones(3), False),
        (torch.ones(2), None, False),
        (None, None, False),
        (torch.ones(2), torch.full((3,), torch.nan), True),
        (torch.tensor([0.0, -torch.inf]), None, True),
    ],
)
def test_gradients_are_dropped_together_or_kept(first, second, dropped):
    params = two()
    given = [first, second]
    for parameter, grad in zip(params, given, strict=True):
        parameter.grad = grad
    assert jd_amp.drop_nonfinite_grads(SGD(params, lr=0.1)) is dropped
    for parameter, grad in zip(params, given, strict=True):
        assert parameter.grad is (None if dropped else grad)
