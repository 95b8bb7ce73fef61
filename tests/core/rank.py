"""One rank of a process group: a script, run by ``test_distributed.py``."""

import re
import sys

import torch
import torch.distributed as dist

import torchjd
from torchjd.aggregation import Aggregator
from torchjd.autojac import backward, jac_to_grad, mtl_backward


class First(Aggregator):
    def forward(self, matrix, /):
        return matrix[0]


def parameters():
    return torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)


def step():
    w, _ = parameters()
    torchjd.backward([w.sum()], [w], First())
    return w


def mtl_step():
    w, v = parameters()
    f = 2 * w
    torchjd.mtl_backward([f @ v], f, First())
    return w


def aggregate():
    w, v = parameters()
    f = 2 * w
    mtl_backward([f @ v], f)
    jac_to_grad([w], First())
    return w


CALLS = {"backward": step, "mtl_backward": mtl_step, "jac_to_grad": aggregate}


def main(rank, world_size, path):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world_size)
    for name, call in CALLS.items():
        refusal = ""
        try:
            call()
        except RuntimeError as error:
            refusal = str(error)
        expected = rf"`torchjd[.a-z]*{name}` needs a single process.*group of 2 ranks.*local\(\)"
        assert bool(re.match(expected, refusal)) == (world_size > 1), refusal
        with torchjd.distributed.local():
            assert call().grad is not None
    w, _ = parameters()
    backward([w.sum()])  # computes, and aggregates nothing: allowed
    assert w.jac is not None
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
