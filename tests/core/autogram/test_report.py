"""What `Engine.check` says: which rule serves which parameter, what it costs, what falls back."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchjd.autogram import Engine


class Doubled(torch.autograd.Function):
    """A function of which the engine knows nothing."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad * weight, grad * x


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return Doubled.apply(x, self.weight)


def losses_of(model, batch=5):
    return model(torch.randn(batch, 3)).square().flatten(1).sum(1)


def served(report):
    return {parameter.name: parameter.served_by for parameter in report.parameters}


def test_rules_serve_what_they_know():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    report = Engine(model).check(losses_of(model))
    assert report.losses == (5,)
    assert set(served(report).values()) == {"rule"}
    assert [p.name for p in report.parameters] == [name for name, _ in model.named_parameters()]
    assert report.parameters[0].nodes == ("AddmmBackward0",)
    assert report.flops == pytest.approx(sum(p.flops for p in report.parameters))
    assert report.flops > 0
    assert (report.mixed_by, report.probed_for, report.second_backward) == ((), (), "")


def test_what_falls_back_and_why():
    model = nn.Sequential(nn.Linear(3, 4), Custom(), nn.Linear(4, 2))
    report = Engine(model).check(losses_of(model))
    assert served(report)["1.weight"] == "fallback"
    assert served(report)["0.weight"] == "rule"
    assert report.probed_for == ("DoubledBackward",)


def test_rows_below_what_mixes_the_samples_and_its_name():
    model = nn.Sequential(
        nn.Conv1d(1, 8, 1), nn.ReLU(), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(24, 2)
    )
    losses = model(torch.randn(5, 1, 3)).square().sum(1)
    report = Engine(model).check(losses)
    assert served(report) == {
        "0.weight": "rows",
        "0.bias": "rows",
        "2.weight": "rule",
        "2.bias": "rule",
        "4.weight": "rule",
        "4.bias": "rule",
    }
    assert report.mixed_by == ("NativeBatchNormBackward0 (`2`, BatchNorm1d)",)
    assert "samples are mixed" in report.second_backward


def test_parameters_that_no_loss_reaches():
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    report = Engine(first, second).check(losses_of(first))
    assert served(report)["modules[0].weight"] == "rule"
    assert served(report)["modules[1].weight"] == "nothing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.weight.register_hook(lambda grad: None), "a parameter carries hooks"),
        (
            lambda model: model.weight.register_post_accumulate_grad_hook(lambda p: None),
            "a parameter carries hooks",
        ),
    ],
)
def test_why_a_second_backward_pass(change, reason):
    model = nn.Linear(3, 2)
    change(model)
    assert Engine(model).check(losses_of(model)).second_backward == reason


def test_backward_hooks_of_modules_need_a_second_pass():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].register_full_backward_hook(lambda *_: None)
    report = Engine(model).check(losses_of(model))
    assert report.second_backward == "a module carries backward hooks"


def test_modes_and_budgets_say_why():
    model = nn.Linear(3, 2)
    losses = losses_of(model)
    assert Engine(model, mode="stream").check(losses).second_backward == "the mode is stream"
    assert Engine(model, budget=0).check(losses).second_backward == "the budget is small"
    assert Engine(model, mode="reuse", budget=0).check(losses).second_backward == ""


def test_the_table_has_a_line_for_each_parameter_and_the_graph_is_kept():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    losses = F.cross_entropy(
        model(torch.randint(7, (5, 3))), torch.randint(2, (5,)), reduction="none"
    )
    engine = Engine(model)
    report = engine.check(losses)
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["0.weight", "2.weight", "2.bias"]
    assert lines[0].split()[0] == "parameter"
    assert "Gramian of 5 losses" in str(report)
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(engine.compute_gramian(losses), engine.compute_gramian(losses))


def test_rows_in_a_budget_are_the_same_and_cost_fewer_passes():
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))).double()
    losses = model(torch.randn(6, 3, dtype=torch.float64)).square().mean(0)
    passes = []
    losses.grad_fn.register_prehook(lambda grads: passes.append(1))
    strict = Engine(model, batch_dim=None).compute_gramian(losses)
    many, wide = len(passes), Engine(model, batch_dim=None, budget=1 << 20)
    torch.testing.assert_close(wide.compute_gramian(losses), strict)
    assert len(passes) - many == 3 < many
