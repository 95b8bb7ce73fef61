"""What methods remember between calls: checkpoints, default devices, aliases, inference mode."""

import pytest
import torch

import jd_aggregators as jd
from torchjd.linalg import cross_gramian
from torchjd.testing.matrices import gaussian

METHODS = ["DBMTL", "ExcessMTL", "GradNorm", "MoCo", "MoDo", "MomentumConFIG", "SDMGrad"]


def step(aggregator, k=0):
    rows = gaussian(3, 5, seed=k)
    cross = cross_gramian([rows], [gaussian(3, 5, seed=100 + k)])
    return aggregator(rows, losses=torch.full((3,), 2.0), cross_gramian=cross)


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_that_lacks_a_part_is_refused(method):
    aggregator, other = getattr(jd, method)(), getattr(jd, method)()
    step(aggregator)
    state = aggregator.state_dict()
    for name in state:
        if name.endswith("_calls"):
            continue
        rest = {key: value for key, value in state.items() if key != name}
        with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
            other.load_state_dict(rest)
    other.load_state_dict(state)
    assert torch.equal(step(other, 1), step(aggregator, 1))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"MomentumConFIG"}))
def test_matrices_on_the_cpu_stay_there_whatever_the_default_device(method):
    one, other = getattr(jd, method)(), getattr(jd, method)()
    for k in range(3):
        expected = step(one, k)
        rows = gaussian(3, 5, seed=k)
        cross = cross_gramian([rows], [gaussian(3, 5, seed=100 + k)])
        losses = torch.full((3,), 2.0)
        with torch.device("meta"):  # the strictest: nothing on it can be read
            found = other(rows, losses=losses, cross_gramian=cross)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_handed_out_or_in_may_be_written_to(method):
    one, other = getattr(jd, method)(), getattr(jd, method)()
    for k in range(3):
        rows, losses = gaussian(3, 5, seed=k), torch.full((3,), 2.0, dtype=torch.float64)
        cross = cross_gramian([rows], [gaussian(3, 5, seed=100 + k)])
        expected = one(rows.clone(), losses=losses.clone(), cross_gramian=cross.clone())
        found = other(rows, losses=losses, cross_gramian=cross)
        assert torch.equal(found, expected)
        state = other.state_dict()
        for tensor in (rows, losses, cross, found):
            tensor.fill_(torch.nan)
        assert all(bool(torch.isfinite(kept).all()) for kept in state.values())


@pytest.mark.parametrize("method", METHODS)
def test_calls_with_and_without_inference_mode_go_on_from_each_other(method):
    one, other = getattr(jd, method)(), getattr(jd, method)()
    for k in range(4):
        with torch.inference_mode(k % 2 == 0):
            found = step(other, k)
        assert torch.equal(found, step(one, k))
