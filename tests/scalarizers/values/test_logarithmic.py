"""GeometricMean and ScaleInvariant: what counts is the relative change."""

import math

import pytest
import torch

from torchjd.scalarization import GeometricMean, ScaleInvariant
from torchjd.testing import assert_close

SHAPES = [(), (1,), (5,), (2, 3)]


def positive(shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1


def value_and_gradient(scalarizer, values):
    leaf = values.clone().requires_grad_()
    loss = scalarizer(leaf)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_closed_forms(shape):
    values = positive(shape)
    n = values.numel()
    mean = torch.tensor(math.prod(values.flatten().tolist()) ** (1 / n), dtype=torch.float64)
    loss, gradient = value_and_gradient(GeometricMean(), values)
    assert_close(loss, mean)
    assert_close(gradient, mean / (n * values))
    loss, gradient = value_and_gradient(ScaleInvariant(), values)
    total = sum(map(math.log, values.flatten().tolist()))
    assert_close(loss, torch.tensor(total, dtype=torch.float64), scale=float(n))
    assert_close(gradient, 1 / values)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_beyond_the_exponents(scale, dtype):
    values = torch.linspace(1.0, 2.0, 40, dtype=dtype)
    plain, slope = value_and_gradient(GeometricMean(), values.double())
    loss, gradient = value_and_gradient(GeometricMean(), scale * values)
    assert_close(loss / scale, plain, scale=10.0)
    assert_close(gradient, slope, scale=10 * float(slope.max()))


def test_a_value_of_zero():
    loss, gradient = value_and_gradient(GeometricMean(), torch.tensor([0.0, 1.0]))
    assert loss == 0.0
    assert not torch.isfinite(gradient[0])
    assert gradient[1] == 0.0
    assert ScaleInvariant()(torch.tensor([0.0, 1.0])) == -torch.inf


@pytest.mark.parametrize("scalarizer", [GeometricMean(), ScaleInvariant()], ids=repr)
def test_negative_values_give_nan(scalarizer):
    assert scalarizer(torch.tensor([-1.0, -1.0])).isnan()


def test_units_do_not_change_the_update():
    parameter = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    units = torch.tensor([1e-3, 1.0, 1e4], dtype=torch.float64)

    def update(scale):
        losses = torch.stack([parameter.square().sum(), parameter.exp().sum(), parameter[0]])
        return torch.autograd.grad(ScaleInvariant()(scale * losses), parameter)[0]

    assert_close(update(units), update(torch.ones_like(units)))
