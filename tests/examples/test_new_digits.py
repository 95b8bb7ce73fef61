"""The parts of the example on new and old digits."""

import pytest
import torch

from torchjd.aggregation import UPGrad


@pytest.fixture(scope="module")
def new_digits(load_example):
    return load_example("new_digits")


@pytest.fixture(scope="module")
def data(new_digits):
    return new_digits.split(new_digits.load_digits(), seed=0)


def test_split_by_digit(data):
    old, new, test_old, test_new = (
        (images.shape, labels.unique().tolist())
        for images, labels in (data.old, data.new, data.test_old, data.test_new)
    )

    assert old[0][0] + new[0][0] == 3000
    assert test_old[0][0] + test_new[0][0] == 1000
    assert {shape[1] for shape, _ in (old, new, test_old, test_new)} == {196}
    assert old[1] == test_old[1] == [0, 1, 2, 3, 4]
    assert new[1] == test_new[1] == [5, 6, 7, 8, 9]


@pytest.mark.usefixtures("one_thread")
def test_starts_from_a_network_that_knows_the_old_digits(new_digits, data):
    model = new_digits.pretrain(data.old, seed=0)
    before = [param.clone() for param in model.parameters()]

    run = new_digits.train(model, data, UPGrad(), lr=0.1, steps=3)

    assert run.accuracy.shape == (4, 2)
    assert run.accuracy[0, 0] > 90
    assert run.accuracy[0, 1] == 0
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([1.0, 3.0], "+2.0 ± 1.0 points (in every run)"),
        ([-1.0, -3.0], "-2.0 ± 1.0 points (in every run)"),
        ([-1.0, 3.0], "+1.0 ± 2.0 points (not in every run: no clear difference)"),
        ([0.0, 2.0], "+1.0 ± 1.0 points (not in every run: no clear difference)"),
    ],
)
def test_points(new_digits, differences, said):
    assert new_digits.points(torch.tensor(differences)) == said
