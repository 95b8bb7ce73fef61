"""The parts of the picture of the dual cone."""

import pytest
import torch
from torch.testing import assert_close


@pytest.fixture(scope="module")
def dual_cone(load_example):
    return load_example("dual_cone")


def test_gradients_conflict_with_each_other_and_the_mean_with_one(dual_cone):
    J = dual_cone.J

    assert J[0] @ J[1] < 0
    assert (J @ J.mean(dim=0)).min() < 0


def test_projections_are_the_nearest_points_of_the_cone(dual_cone):
    J = dual_cone.J
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 2, dtype=torch.float64, generator=generator)
    others = torch.randn(2000, 2, dtype=torch.float64, generator=generator)
    inside = others[(others @ J.T >= 0).all(dim=1)]

    projected = dual_cone.project(points)

    assert (projected @ J.T).min() > -1e-9
    distances = (points - projected).norm(dim=1, keepdim=True)
    assert (distances <= torch.cdist(points, inside) + 1e-9).all()
    assert_close(dual_cone.project(projected), projected)


def test_cone_is_bounded_by_what_is_orthogonal_to_a_gradient(dual_cone):
    J = dual_cone.J

    corners = dual_cone.cone(radius=3)

    assert_close(corners[0], torch.zeros(2, dtype=torch.float64))
    assert_close(corners[1:].norm(dim=1), torch.full((len(corners) - 1,), 3.0).double())
    products = corners[1:] @ J.T
    assert products.min() > -1e-9
    assert (products.amin(dim=0) < 1e-9).all()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_draws_in_both_styles(dual_cone, name, tmp_path):
    path = tmp_path / "picture.svg"

    dual_cone.draw(dual_cone.STYLES[name]).savefig(path, transparent=True)

    text = path.read_text()
    assert dual_cone.STYLES[name].cone in text
    assert not any(s.cone in text for n, s in dual_cone.STYLES.items() if n != name)
