"""The parts of the main example."""

import pytest
import torch


@pytest.fixture(scope="module")
def auto_mpg(load_example):
    return load_example("auto_mpg")


def test_loads_all_cars(auto_mpg):
    inputs, targets = auto_mpg.load_cars()

    assert inputs.shape == (392, 3)
    assert targets.shape == (392, 4)
    assert inputs.isfinite().all()
    assert targets.isfinite().all()


def test_columns_are_what_they_are_called(auto_mpg):
    inputs, targets = auto_mpg.load_cars()

    assert inputs[0].tolist() == [8, 70, 1]
    assert dict(zip(auto_mpg.TARGETS, targets[0].tolist(), strict=True)) == {
        "mpg": 18,
        "horsepower": 130,
        "acceleration": 12,
        "displacement": 307,
    }


@pytest.mark.parametrize("scale", ["standardised", "raw"])
def test_split(auto_mpg, scale):
    x, y, test_x, test_y = auto_mpg.split(0, scale)

    assert (len(x), len(y), len(test_x), len(test_y)) == (240, 240, 76, 76)
    assert torch.allclose(y.mean(dim=0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(x.std(dim=0), torch.ones(3))
    assert torch.allclose(y.std(dim=0), torch.ones(4)) == (scale == "standardised")


def test_rising(auto_mpg):
    losses = torch.tensor([[3.0, 3.0], [2.0, 2.0], [1.0, 2.1], [1.0, 2.1], [1.1, 1.0]])

    assert auto_mpg.rising(losses).tolist() == [False, True, False, True]


@pytest.mark.usefixtures("one_thread")
def test_some_loss_rises_with_the_mean_and_none_with_upgrad(auto_mpg):
    runs = {
        name: [auto_mpg.train("standardised", aggregator, seed, steps=150) for seed in range(3)]
        for name, aggregator in auto_mpg.METHODS.items()
    }

    assert auto_mpg.share_of_rises(runs["mean"]) > 0.1
    assert auto_mpg.share_of_rises(runs["UPGrad"]) == 0


def test_train_records_every_step(auto_mpg):
    run = auto_mpg.train("standardised", None, seed=0, steps=7)

    assert run.losses.shape == (8, 4)
    assert run.r2.shape == (4,)
    assert run.seconds > 0
    assert (run.losses[0] > run.losses[-1]).any()


def results(auto_mpg, r2):
    """Return two made-up runs for each cell; ``r2`` in the order of the table's columns."""
    cells = [(scale, name) for scale in auto_mpg.LEARNING_RATES for name in auto_mpg.METHODS]
    losses = torch.tensor([[2.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 1.5]])
    return {
        cell: [auto_mpg.Run(losses, torch.full((4,), value + d), 1e-3 * k) for d in (0.0, 0.1)]
        for k, (cell, value) in enumerate(zip(cells, r2, strict=True), start=1)
    }


@pytest.mark.parametrize(
    ("r2", "said"),
    [
        ([0.7, 0.7, 0.4, 0.5], "Standardising the targets helps more than UPGrad"),
        ([0.5, 0.5, 0.4, 0.7], "Standardising the targets helps less than UPGrad"),
        ([0.7, 0.71, 0.4, 0.5], "by +0.010: less than the spread over seeds, 0.050"),
        ([0.7, 0.90, 0.4, 0.5], "by +0.200: at least the spread over seeds, 0.050"),
        ([0.7, 0.69, 0.4, 0.5], "It was higher with 0 of 2 seeds"),
        ([0.7, 0.71, 0.4, 0.5], "It was higher with 2 of 2 seeds"),
        ([0.7, 0.7, 0.4, 0.5], "50.0 % of the steps made some target's loss rise with the mean"),
        ([0.7, 0.7, 0.4, 0.5], "A step of UPGrad took 2.0 times as long"),
    ],
)
def test_findings_follow_the_numbers(auto_mpg, r2, said):
    assert said in " ".join(auto_mpg.findings(results(auto_mpg, r2)))
