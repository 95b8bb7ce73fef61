"""The rules of normalisations: weights and biases, of each sample apart."""

import pytest
import torch
from torch.nn import functional

from torchjd.autogram._layout import Layout
from torchjd.autogram._rules import _normalization as rules

from .rule_oracle import call_of, check, check_call, missing, parameter, random, refused

_BATCH_NORM = {"input", "result1", "result2", "running_mean", "running_var", "training"}
READS = {
    "NativeLayerNormBackward0": {"input", "result1", "result2", "normalized_shape"},
    "FusedRmsNormBackward0": {"input", "result1", "normalized_shape"},
    "NativeGroupNormBackward0": {"input", "result1", "result2", "C", "group"},
    "NativeBatchNormBackward0": {*_BATCH_NORM, "eps"},
    "CudnnBatchNormBackward0": {*_BATCH_NORM, "epsilon"},
    "MiopenBatchNormBackward0": {*_BATCH_NORM, "epsilon"},
}


@pytest.mark.parametrize("name", READS)
def test_torch_saves_what_is_read(name):
    assert not missing(name, READS[name])


def far(*shape):
    """Inputs whose mean is not small against their deviation."""
    return 3 + 2 * random(*shape)


LAYER_NORM = {
    "no tokens": ((5, 4), (4,), Layout(0), 5),
    "tokens": ((5, 3, 4), (4,), Layout(0), 5),
    "tokens first": ((3, 5, 4), (4,), Layout(1), 5),
    "outer": ((15, 4), (4,), Layout(0), 5),
    "inner": ((15, 4), (4,), Layout(0, inner=True), 5),
    "two dimensions": ((5, 2, 3, 4), (3, 4), Layout(0), 5),
    "one sample": ((3, 4), (4,), Layout(0), 1),
    "one sample, in what is normalised": ((3, 4), (4,), Layout(1), 1),
}


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("name", LAYER_NORM)
def test_layer_norm(name, tasks):
    size, normalized, layout, batch = LAYER_NORM[name]
    w, b = parameter(*normalized), parameter(*normalized)
    out = functional.layer_norm(far(*size), normalized, w, b)
    check(rules.layer_norm, out, layout, batch, {1: w, 2: b}, tasks)


def test_layer_norm_of_samples_that_are_normalised_together_is_refused():
    w, b = parameter(5, 4), parameter(5, 4)
    out = functional.layer_norm(far(3, 5, 4), (5, 4), w, b)
    assert refused(rules.layer_norm, out, Layout(1), 5, {1: w})
    x = parameter(5, 4)
    out = functional.layer_norm(x, (4,), w[0], b[0])
    assert refused(rules.layer_norm, out, Layout(0), 5, {0: x})


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("name", LAYER_NORM)
def test_rms_norm(name, tasks):
    """Only CUDA makes this node: the names of it are held by another test."""
    size, normalized, layout, batch = LAYER_NORM[name]
    w, x = parameter(*normalized), far(*size)
    dims = tuple(range(-len(normalized), 0))
    rstd = (x.square().mean(dims, keepdim=True) + 1e-5).rsqrt()
    call, rows = call_of(x * rstd * w, layout, batch, {1: w}, tasks)
    saved = {"_saved_input": x, "_saved_result1": rstd, "_saved_normalized_shape": normalized}
    call.node = type("Node", (), saved)()
    check_call(rules.rms_norm, call, rows)


IMAGES = {
    "images": ((5, 6, 3, 2), Layout(0), 5),
    "sequences": ((5, 6, 3), Layout(0), 5),
    "features": ((5, 6), Layout(0), 5),
    "outer": ((15, 6, 2), Layout(0), 5),
    "inner": ((15, 6, 2), Layout(0, inner=True), 5),
    "outer features": ((15, 6), Layout(0), 5),
    "one sample": ((3, 6, 2, 2), Layout(0), 1),
    "one sample in the channels": ((3, 6, 2), Layout(1), 1),
}


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", IMAGES)
def test_batch_norm(name, training, tasks):
    size, layout, batch = IMAGES[name]
    w, b = parameter(6), parameter(6)
    mean, var = random(6), random(6).square() + 0.1
    out = functional.batch_norm(far(*size), mean, var, w, b, training)
    check(rules.batch_norm, out, layout, batch, {1: w, 2: b}, tasks)


def test_batch_norm_without_running_statistics():
    w, b = parameter(6), parameter(6)
    out = functional.batch_norm(far(5, 6, 4), None, None, w, b, training=True)
    check(rules.batch_norm, out, Layout(0), 5, {1: w, 2: b}, 1)


def test_batch_norm_of_images_whose_channels_run_fastest():
    w, b = parameter(6), parameter(6)
    x = far(5, 6, 3, 2).to(memory_format=torch.channels_last)
    out = functional.batch_norm(x, None, None, w, b, training=True)
    check(rules.batch_norm, out, Layout(0), 5, {1: w, 2: b}, 1)


def test_batch_norm_called_twice_in_training():
    """The second call changes the running statistics, which the first has saved."""
    w, b, mean, var = parameter(6), parameter(6), random(6), random(6).square()
    out = functional.batch_norm(far(5, 6), mean, var, w, b, training=True)
    functional.batch_norm(far(5, 6), mean, var, w, b, training=True)
    check(rules.batch_norm, out, Layout(0), 5, {1: w, 2: b}, 1)


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("name", IMAGES)
def test_group_norm(name, groups, tasks):
    size, layout, batch = IMAGES[name]
    w, b = parameter(6), parameter(6)
    out = functional.group_norm(far(*size), groups, w, b)
    check(rules.group_norm, out, layout, batch, {1: w, 2: b}, tasks)


def test_channels_of_samples_are_refused():
    w, b = parameter(6), parameter(6)
    x = far(5, 6, 3)
    out = functional.batch_norm(x, None, None, w, b, training=True)
    assert refused(rules.batch_norm, out, Layout(1), 6, {1: w})
    out = functional.group_norm(x, 3, w, b)
    assert refused(rules.group_norm, out, Layout(1), 6, {1: w})


def test_a_large_mean_costs_no_precision():
    """A mean of a thousand deviations, in float32: x and B are not multiplied uncentred."""
    w = torch.ones(6, requires_grad=True)
    x = (1000 + random(5, 6, 64)).float()
    out = functional.batch_norm(x, None, None, w, None, training=True)
    call, rows = call_of(out, Layout(0), 5, {1: w}, 1)
    call.dtype = torch.float32
    uses = rules.batch_norm(call)
    assert uses is not None
    exact = x.double()
    var, mean = torch.var_mean(exact, (0, 2), correction=0, keepdim=True)
    B = random(1, 5, 6, 64, seed=3)[0]
    right = (B * (exact - mean) / (var + 1e-5).sqrt()).sum(2)
    error = (uses[1].rows().double() - right).abs().max()
    assert error <= 1e-3 * right.abs().max()
    assert rows[1].shape == right.shape
