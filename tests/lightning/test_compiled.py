"""Compiled modules are trained as those that are not."""

import pytest
import torch

from .nets import TwoTasks, assert_same, batches, by_hand, loader


@pytest.fixture(autouse=True)
def forget_what_was_compiled():
    yield
    torch.compiler.reset()


def test_a_module_that_is_compiled(trainer):
    net = TwoTasks()
    trainer().fit(torch.compile(net, backend="eager"), loader())

    assert_same(net, by_hand(TwoTasks(), batches()))


def test_a_part_that_is_compiled(trainer):
    net = TwoTasks()
    net.trunk = torch.compile(net.trunk, backend="aot_eager")
    trainer().fit(net, loader())

    assert_same(net, by_hand(TwoTasks(), batches()))
