"""A JDModule that is a part of another module, or that other code copies, is whole all the same."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.optim.swa_utils import AveragedModel

from .nets import Remembering, TwoTasks, loader


class Inside(LightningModule):
    """Of Lightning's own, with a JDModule in it."""

    def __init__(self):
        super().__init__()
        self.net = TwoTasks(Remembering)


class InAContainer(nn.Module):
    """Of torch's own, with a JDModule in it."""

    def __init__(self):
        super().__init__()
        self.nets = nn.ModuleList([TwoTasks(Remembering)])


@pytest.mark.parametrize("outer", [Inside, InAContainer])
def test_its_state_is_saved_and_loaded_with_the_module_around_it(outer):
    saved, loaded = outer(), outer()
    state = {key: value + 1 for key, value in saved.state_dict().items()}
    loaded.load_state_dict(state)

    assert any(key.endswith("calls") for key in state)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[key]), key


class Averaging(Callback):
    """Averages the weights as the callbacks of Lightning do: copies before the module is set up."""

    def setup(self, trainer, pl_module, stage):
        self.average = AveragedModel(pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.average.update_parameters(pl_module)


def test_a_callback_may_average_its_weights(trainer):
    net, averaging = TwoTasks(Remembering), Averaging()
    trainer(callbacks=[averaging]).fit(net, loader())

    average = averaging.average.module.state_dict()
    assert average.keys() == net.state_dict().keys()
    assert torch.equal(average["_jd_aggregator.calls"], torch.tensor(6))
    AveragedModel(TwoTasks(Remembering)).load_state_dict(averaging.average.state_dict())
