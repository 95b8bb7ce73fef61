"""What would silently go wrong is refused, by name, with the remedy."""

import pytest
import torch
import torch.distributed
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy

from jd_amp import JacobianScaler
from jd_lightning import JDModule
from torchjd.aggregation import Aggregator, MatrixWeighting, WeightedAggregator

from .nets import Even, TwoTasks, assert_same, batches, by_hand, even, loader


class ExtraLoss(TwoTasks):
    def training_step(self, batch, batch_idx):
        penalty = sum(p.square().sum() for p in self.trunk.parameters())
        return super().training_step(batch, batch_idx) + 0.1 * penalty


class ExtraLossOfAnObjective(TwoTasks):
    def training_step(self, batch, batch_idx):
        losses, _ = self.losses(batch)
        return self.objectives(losses) + losses[0]


class ExtraLossInPlace(TwoTasks):
    def training_step(self, batch, batch_idx):
        losses, _ = self.losses(batch)
        loss = self.objectives(losses)
        loss += losses[0]
        return loss


class LearnedFactor(TwoTasks):
    def training_step(self, batch, batch_idx):
        return self.heads[0].bias.sum() * super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "net", [ExtraLoss, ExtraLossOfAnObjective, ExtraLossInPlace, LearnedFactor]
)
def test_an_extra_loss_is_refused(trainer, net):
    with pytest.raises(RuntimeError, match=r"nothing but the result of `objectives`.*Pass that"):
        trainer().fit(net(), loader())


class ExtraNumber(TwoTasks):
    def training_step(self, batch, batch_idx):
        number = self.losses(batch)[0][0].detach()
        return super().training_step(batch, batch_idx) + number - 7.0


def test_an_extra_number_is_not(trainer):
    net = ExtraNumber()
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches()))


class NotReturned(TwoTasks):
    def training_step(self, batch, batch_idx):
        losses, _ = self.losses(batch)
        self.objectives(losses)
        return sum(losses)


class Detached(TwoTasks):
    def training_step(self, batch, batch_idx):
        value = super().training_step(batch, batch_idx).detach()
        return value + 0 * sum(self.losses(batch)[0])


@pytest.mark.parametrize("net", [NotReturned, Detached])
def test_objectives_that_are_not_returned_are_refused(trainer, net):
    with pytest.raises(RuntimeError, match="must return the result of `objectives`"):
        trainer().fit(net(), loader())


class Twice(TwoTasks):
    def training_step(self, batch, batch_idx):
        (first, second), _ = self.losses(batch)
        return self.objectives([first]) + self.objectives([second])


class TwiceReturnedOnce(TwoTasks):
    def training_step(self, batch, batch_idx):
        self.objectives(self.losses(batch)[0])
        return self.objectives(self.losses(batch)[0])


@pytest.mark.parametrize("net", [Twice, TwiceReturnedOnce])
def test_two_calls_in_a_step_are_refused(trainer, net):
    with pytest.raises(RuntimeError, match="`objectives` must be called once"):
        trainer().fit(net(), loader())


class OwnBackward(TwoTasks):
    def backward(self, loss):
        loss.backward()


class Parent(LightningModule):
    def __init__(self):
        super().__init__()
        self.child = TwoTasks()

    def training_step(self, batch, batch_idx):
        return self.child.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("net", [OwnBackward, Parent])
def test_an_ordinary_backward_pass_is_refused(trainer, net):
    with pytest.raises(RuntimeError, match="must be differentiated by its JDModule"):
        trainer().fit(net(), loader())


class OwnStep(TwoTasks):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_leaves_out_the_aggregation_is_refused(trainer, accumulate):
    with pytest.raises(RuntimeError, match=r"`OwnStep` must call `super\(\).optimizer_step"):
        trainer(accumulate_grad_batches=accumulate).fit(OwnStep(), loader())


class Warmup(TwoTasks):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad()


def test_a_step_of_ones_own_that_calls_it_is_not(trainer):
    net = Warmup()
    trainer(accumulate_grad_batches=2).fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches(), accumulate=2))


def swapped(number):
    class Swapped(TwoTasks):
        def training_step(self, batch, batch_idx):
            (a, b), _ = self.losses(batch)
            return self.objectives({"b": b, "a": a} if batch_idx == number else {"a": a, "b": b})

    return Swapped()


def test_rows_that_change_places_while_they_accumulate_are_refused(trainer):
    with pytest.raises(ValueError, match=r"same names in the same order.*\['b', 'a'\] after"):
        trainer(accumulate_grad_batches=2).fit(swapped(3), loader())


class NoAggregator(TwoTasks):
    configure_aggregator = JDModule.configure_aggregator


def test_a_missing_aggregator_is_named(trainer):
    with pytest.raises(NotImplementedError, match="`NoAggregator` must define `configure_aggreg"):
        trainer().fit(NoAggregator(), loader())


class CrossGramian(MatrixWeighting):
    needs = "cross gramian"

    def forward(self, stat, /):
        return stat.diagonal()


@pytest.mark.parametrize(
    ("aggregator", "message"),
    [
        (lambda: None, "must return an Aggregator.*Got None"),
        (lambda: Even, "must return an Aggregator.*Got the class Even.*instance"),
        (Even, "one scalar loss an objective. Got Even"),
        (lambda: WeightedAggregator(CrossGramian()), "needs no second batch.*cross_gramian"),
    ],
)
def test_what_does_not_aggregate_is_refused(trainer, aggregator, message):
    with pytest.raises(TypeError, match=message):
        trainer().fit(TwoTasks(aggregator), loader())


class Total(Aggregator):
    def forward(self, matrix, /):
        return matrix.sum(dim=0)


class PerSample(TwoTasks):
    def training_step(self, batch, batch_idx):
        inputs, target, _ = batch
        return self.objectives((self.heads[0](self.trunk(inputs)) - target).square()[:, 0])


@pytest.mark.parametrize(
    ("aggregator", "message"),
    [
        (Total, "works from the Gramian.*Got Total"),
        (lambda: WeightedAggregator(Even()), "works from the Gramian"),
        (CrossGramian, "needs no second batch"),
    ],
)
def test_what_does_not_weigh_samples_is_refused(trainer, aggregator, message):
    with pytest.raises(TypeError, match=message):
        trainer().fit(PerSample(aggregator), loader())


def test_a_scale_per_objective_is_refused_for_samples(trainer):
    plugin = MixedPrecision("16-mixed", "cpu", JacobianScaler("cpu"))
    with pytest.raises(TypeError, match=r"`scaler` of the precision plugin.*JacobianScaler"):
        trainer(plugins=plugin).fit(PerSample(even), loader())


W = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("losses", "options", "error", "message"),
    [
        (None, {}, TypeError, "`losses` must be a mapping.*Got NoneType"),
        ([], {}, ValueError, "`losses` must hold at least one"),
        ({"a": W.sum(), "b": 2.0}, {}, TypeError, r"`losses\['b'\]` must be a tensor. Got float"),
        ({"a": W}, {}, ValueError, r"`losses\['a'\]` must have one element. Got shape \[2\]"),
        ([W.sum(), W.detach().sum()], {}, ValueError, r"`losses\[1\]` must require grad"),
        ([torch.ones(())], {}, ValueError, r"`losses\[0\]` must require grad"),
        ([torch.ones((), dtype=torch.int64)], {}, TypeError, "real floating dtype. Got torch.int6"),
        (W.sum(), {}, ValueError, "a loss for each sample.*Got a scalar.*dict or a list"),
        (W * 2, {"features": W * 3}, TypeError, "`features` must be left out"),
    ],
)
def test_losses_that_are_none_are_named(losses, options, error, message):
    with pytest.raises(error, match=message):
        JDModule().objectives(losses, **options)


@pytest.fixture
def no_process_group_left():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class OwnSetup(TwoTasks):
    def setup(self, stage):
        pass


@pytest.mark.filterwarnings("ignore:.*process group:")
@pytest.mark.parametrize("net", [TwoTasks, OwnSetup])
@pytest.mark.usefixtures("no_process_group_left")
def test_strategies_of_several_processes_are_refused(trainer, net):
    with pytest.raises(RuntimeError, match=r"not supported by jd-lightning yet.*DDPStrategy.*devi"):
        trainer(strategy="ddp", devices=1).fit(net(), loader())


class Untouched(TwoTasks):
    def configure_optimizers(self):
        pytest.fail("the refusal comes too late")


@pytest.mark.usefixtures("no_process_group_left")
def test_strategies_are_refused_before_anything_is_set_up(trainer):
    with pytest.raises(RuntimeError, match="not supported by jd-lightning yet"):
        trainer(strategy="ddp", devices=1).fit(Untouched(), loader())


def test_a_strategy_of_several_ranks_is_refused_whatever_its_class(trainer, monkeypatch):
    several = trainer()
    monkeypatch.setattr(several.strategy, "world_size", 2)
    with pytest.raises(RuntimeError, match="Got `strategy` SingleDeviceStrategy with 2 processes"):
        several.fit(TwoTasks(), loader())


class ManualOwnCalls(TwoTasks):
    """Ranks that train different models: the calls are the user's own."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.optimizers().step()


@pytest.mark.filterwarnings("ignore:.*process group:", "ignore:.*find_unused_parameters")
@pytest.mark.usefixtures("no_process_group_left")
def test_manual_optimisation_is_left_to_the_user(trainer):
    net = ManualOwnCalls()
    trainer(strategy=DDPStrategy(process_group_backend="gloo"), devices=1).fit(net, loader())

    assert_same(net, TwoTasks())


class OwnArguments(TwoTasks):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx), create_graph=True)


def test_arguments_of_an_ordinary_backward_pass_are_refused(trainer):
    with pytest.raises(TypeError, match=r"no argument other than `retain_graph`. Got create_graph"):
        trainer().fit(OwnArguments(), loader())
