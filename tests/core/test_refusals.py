"""Graphs that the engine refuses by name, or differentiates another way than was asked."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from torchjd.autojac import _strategy, backward, jac, mtl_backward

from .situations import DataDependent, Unvmappable, X


@pytest.fixture(autouse=True)
def forget_what_was_learnt():
    _strategy._unbatchable.clear()
    yield
    _strategy._unbatchable.clear()


def parameter(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("function", [DataDependent, Unvmappable])
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_what_cannot_be_batched_is_looped_with_one_warning(function, chunk_size):
    w = parameter(3, 4)
    right = jac((X @ w) ** 2, w, parallel_chunk_size=1)[0]
    with pytest.warns(UserWarning, match="one by one.*Pass `parallel_chunk_size=1`") as caught:
        found = jac(function.apply(X @ w), w, parallel_chunk_size=chunk_size)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # it points at the user's line
    assert torch.equal(found[0], right)
    # The second time it is known: no warning, no attempt.
    again = jac(function.apply(X @ w), w, parallel_chunk_size=chunk_size)
    assert torch.equal(again[0], right)


def test_sparse_gradients_are_looped_with_one_warning():
    table = parameter(5, 2)
    index = torch.tensor([0, 1, 1, 4])

    def rows():
        return nn.functional.embedding(index, table, sparse=True).pow(2).flatten()

    with pytest.warns(UserWarning, match="one by one"):
        found = jac(rows(), table)
    assert torch.equal(found[0], jac(rows(), table, parallel_chunk_size=1)[0])
    assert found[0].layout == torch.strided


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_asking_for_the_loop_never_warns(chunk_size):
    w = parameter(3, 2)
    backward(list(DataDependent.apply(X[:2] @ w).flatten().unbind()), parallel_chunk_size=1)
    assert w.jac.shape == (4, 3, 2)


def test_mtl_falls_back_too():
    trunk, head = parameter(3, 2), parameter(2)
    f = DataDependent.apply(X @ trunk)
    losses = [(f @ head).pow(2).sum() * k for k in (1.0, 2.0, 3.0)]
    with pytest.warns(UserWarning, match="one by one"):
        mtl_backward(losses, f, parallel_chunk_size=3)
    assert torch.allclose(trunk.jac[2], 3 * trunk.jac[0])


def test_features_that_cannot_be_cut_are_looped_with_one_warning():
    trunk, head = parameter(3, 2), parameter(2)
    h = X @ trunk
    f = h.tanh()
    losses = [(f @ head + h.sum()).pow(2).sum(), f.sum()]
    with pytest.warns(UserWarning, match="one by one.*depend on one another, or are bypassed"):
        mtl_backward(losses, f, parallel_chunk_size=2)


def test_a_wrong_graph_gives_its_own_error_and_no_warning():
    w = parameter(3, 4)
    h = (X @ w).exp()
    h.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        jac(h, w, parallel_chunk_size=4)
    assert not _strategy._unbatchable


def test_running_out_of_memory_is_not_remembered(monkeypatch):
    def run_out(chunk_size):
        def fill(*args):
            raise torch.OutOfMemoryError("tried to allocate")

        return fill

    monkeypatch.setattr(_strategy, "fill_by_batches", run_out)
    w = parameter(3, 4)
    with pytest.warns(UserWarning, match="OutOfMemoryError: tried to allocate"):
        found = jac((X @ w) ** 2, w)
    assert torch.equal(found[0], jac((X @ w) ** 2, w, parallel_chunk_size=1)[0])
    assert not _strategy._unbatchable


# The tracer of torch looks at `.grad` of what is no leaf.
TRACING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
REENTRANT = r"not reentrant.*Got a CheckpointFunctionBackward node.*`use_reentrant=False`"


@pytest.mark.parametrize("where", ["trunk", "head"])
def test_reentrant_checkpoints_are_refused(where):
    layer = nn.Linear(3, 3).double()
    head = nn.Linear(3, 1).double()
    h = X.clone().requires_grad_() if where == "trunk" else layer(X)
    h = checkpoint(layer if where == "trunk" else nn.Tanh(), h, use_reentrant=True)
    losses = [head(h).sum(), head(h).pow(2).sum()]
    with pytest.raises(RuntimeError, match=REENTRANT):
        backward(losses)
    with pytest.raises(RuntimeError, match=REENTRANT):
        mtl_backward(losses, h if where == "trunk" else layer(X) + h)
    assert all(p.grad is None for p in (*layer.parameters(), *head.parameters()))


@TRACING
def test_a_compiled_model_is_looped():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    parameters = list(net.parameters())
    right = jac(net(X).pow(2).mean(dim=0), parameters)
    compiled = torch.compile(net, backend="aot_eager")
    found = jac(compiled(X).pow(2).mean(dim=0), parameters)
    with pytest.warns(UserWarning, match="a compiled region cannot be batched"):
        asked = jac(compiled(X).pow(2).mean(dim=0), parameters, parallel_chunk_size=2)
    for one, other, expected in zip(found, asked, right, strict=True):
        assert torch.allclose(one, expected)
        assert torch.equal(one, other)


def compiled_trunk_and_heads():
    trunk, heads = nn.Linear(3, 4).double(), nn.ModuleList([nn.Linear(4, 1).double()] * 2)

    def forward(x):
        f = trunk(x).tanh()
        return f, heads[0](f).pow(2).mean(), heads[1](f).exp().mean()

    return trunk, heads[0], torch.compile(forward, backend="aot_eager")


@TRACING
def test_a_feature_and_a_loss_of_one_compiled_region_are_refused():
    _, head, forward = compiled_trunk_and_heads()
    f, *losses = forward(X)
    match = "different nodes.*CompiledFunctionBackward.*pass both `tasks_params` and"
    with pytest.raises(RuntimeError, match=match):
        mtl_backward(losses, f)
    # The same where a loss is computed from another output of the region.
    with pytest.raises(RuntimeError, match=match):
        mtl_backward([2 * loss + f.sum() for loss in losses], f)
    assert head.weight.grad is None


@TRACING
def test_it_is_right_where_the_parameters_are_given():
    trunk, head, forward = compiled_trunk_and_heads()
    f, *losses = forward(X)
    own = list(head.parameters())
    mtl_backward(losses, f, tasks_params=[own, own], shared_params=trunk.parameters())
    eager = trunk(X).tanh()
    right = [head(eager).pow(2).mean(), head(eager).exp().mean()]
    expected = jac(right, trunk.parameters(), retain_graph=True)
    assert torch.allclose(trunk.weight.jac, expected[0])
    gradient = torch.autograd.grad(sum(right), own)
    assert torch.allclose(head.weight.grad, gradient[0])


@TRACING
def test_compiled_inside_of_a_head_is_right():
    trunk, head = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
    compiled = torch.compile(head, backend="aot_eager")
    f = trunk(X).tanh()
    losses = [compiled(f)[:, 0].sum(), compiled(f)[:, 1].pow(2).sum()]
    mtl_backward(losses, f, retain_graph=True)
    expected = jac([head(f)[:, 0].sum(), head(f)[:, 1].pow(2).sum()], trunk.weight)
    assert torch.allclose(trunk.weight.jac, expected[0])


class Overwrites(torch.autograd.Function):
    """Overwrites what it saved, as a backward pass with donated buffers does."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = x.clone()
        return x * x

    @staticmethod
    def backward(ctx, grad):
        result = 2 * grad * ctx.kept
        ctx.kept.zero_()
        return result


class CompiledFunction(Overwrites):
    """Its node has the name of a compiled region's."""


def test_donated_buffers_are_found_out_where_torch_does_not_check():
    import torch._functorch.config as functorch_config

    w = parameter(3, 2)
    h = CompiledFunction.apply(X @ w)
    match = r"Got one that overwrites.*the same row came out diff"
    with functorch_config.patch(donated_buffer=False), pytest.raises(RuntimeError, match=match):
        backward([h[:, 0].sum(), h[:, 1].sum()])
    assert not hasattr(w, "jac")


def test_they_are_found_out_beneath_several_tasks_too():
    import torch._functorch.config as functorch_config

    w, v = parameter(3, 2), parameter(2)
    f = CompiledFunction.apply(X @ w)
    losses = [(f @ v).sum(), f.sum()]
    match = r"Got one that overwrites.*the same row came out diff"
    with functorch_config.patch(donated_buffer=False), pytest.raises(RuntimeError, match=match):
        mtl_backward(losses, f)
    assert not hasattr(w, "jac")
    assert v.grad is None


class RefusesToKeep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("compiled with non-empty donated buffers which requires ...")


def test_the_refusal_of_torch_is_explained():
    w = parameter(3, 2)
    h = type("CompiledFunction", (RefusesToKeep,), {}).apply(X @ w)
    with pytest.raises(RuntimeError, match=r"torch refused to keep.*enable_autograd_cache = False"):
        backward([h[:, 0].sum(), h[:, 1].sum()])


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own imports
def test_inductor_is_refused_or_right(tmp_path, monkeypatch):
    import torch._functorch.config as functorch_config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    parameters = list(net.parameters())
    compiled = torch.compile(net)
    compiled(X).sum().backward()  # compiles a backward pass that may overwrite what it reads
    match = "Got one that overwrites them .torch refused to keep the graph"
    with pytest.raises(RuntimeError, match=match):
        jac(compiled(X).pow(2).mean(dim=0), parameters)
    # The remedy that the message names.
    torch._dynamo.reset()
    with functorch_config.patch(enable_autograd_cache=False, donated_buffer=False):
        found = jac(torch.compile(net)(X).pow(2).mean(dim=0), parameters)
    for one, expected in zip(found, jac(net(X).pow(2).mean(dim=0), parameters), strict=True):
        assert torch.allclose(one, expected)
