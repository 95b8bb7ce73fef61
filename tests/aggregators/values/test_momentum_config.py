"""MomentumConFIG against Algorithm 1 of the paper, entry by entry in plain numbers."""

import pytest
import torch

from jd_aggregators import ConFIG, MomentumConFIG
from torchjd.testing import assert_close
from torchjd.testing.matrices import gaussian, of_rank

from .histories import jacobians


class Algorithm1:
    """The momentum operator of the paper, in which any of the rows may come at a step."""

    def __init__(self, m, n, beta1=0.9, beta2=0.999, eps=1e-8):
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.momenta = [[0.0] * n for _ in range(m)]
        self.counts, self.t = [0] * m, 0
        self.combined, self.second = [0.0] * n, [0.0] * n

    def step(self, gradients):
        """Return the update for the gradients of some rows, by their number."""
        for i, gradient in gradients.items():
            self.counts[i] += 1
            pairs = zip(self.momenta[i], gradient, strict=True)
            self.momenta[i] = [self.beta1 * a + (1 - self.beta1) * b for a, b in pairs]
        self.t += 1
        unbiased = [
            [x / (1 - self.beta1**count) for x in row]
            for row, count in zip(self.momenta, self.counts, strict=True)
        ]
        found = ConFIG()(torch.tensor(unbiased, dtype=torch.float64)).tolist()
        update = []
        for k, x in enumerate(found):
            biased = x * (1 - self.beta1**self.t)
            pseudo = (biased - self.beta1 * self.combined[k]) / (1 - self.beta1)
            self.combined[k] = biased
            self.second[k] = self.beta2 * self.second[k] + (1 - self.beta2) * pseudo**2
            root = (self.second[k] / (1 - self.beta2**self.t)) ** 0.5
            update.append(x / (root + self.eps))
        return torch.tensor(update, dtype=torch.float64)


@pytest.mark.parametrize(
    "settings", [(), (0.5, 0.9, 0.1), (0.0, 0.99, 1e-8), (0.9, 0.0, 1e-3)], ids=str
)
def test_many_steps(settings):
    aggregator = MomentumConFIG(*settings)
    paper = Algorithm1(4, 6, *settings)
    for J in jacobians():
        expected = paper.step(dict(enumerate(J.tolist())))
        assert_close(aggregator(J), expected, scale=10.0)


def test_the_first_update_has_the_signs_of_config():
    J = gaussian(3, 8)
    assert_close(MomentumConFIG(eps=0.0)(J), ConFIG()(J).sign())


def test_without_memory_the_signs_of_config():
    aggregator = MomentumConFIG(beta1=0.0, beta2=0.0, eps=0.0)
    for J in jacobians():
        assert_close(aggregator(J), ConFIG()(J).sign())


def test_without_momentum_the_gradients_are_those_of_config():
    aggregator = MomentumConFIG(beta1=0.0, beta2=0.99, eps=0.0)
    squares = torch.zeros(6, dtype=torch.float64)
    for t, J in enumerate(jacobians(), start=1):
        direction = ConFIG()(J)
        squares = 0.99 * squares + 0.01 * direction**2
        assert_close(aggregator(J), direction / (squares / (1 - 0.99**t)).sqrt())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_plays_no_part_without_eps(scale):
    plain, scaled = MomentumConFIG(eps=0.0), MomentumConFIG(eps=0.0)
    for J in jacobians():
        rows = J.to(torch.float32)
        assert_close(scaled(scale * rows), plain(rows), scale=30.0)


def test_a_steady_gradient_gives_steady_steps():
    J = gaussian(3, 8)
    aggregator = MomentumConFIG()
    for _ in range(50):
        update = aggregator(J)
    assert_close(update, ConFIG()(J).sign(), scale=100.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_momenta_are_kept_in_at_least_float32(dtype):
    aggregator = MomentumConFIG()
    aggregator(of_rank(3, 5, 3).to(dtype))
    assert all(
        value.dtype == torch.float32
        for name, value in aggregator.state_dict().items()
        if name != "_calls"
    )


def test_other_parameters_are_refused_and_leave_the_momenta():
    aggregator = MomentumConFIG()
    aggregator(gaussian(3, 8))
    before = {name: value.clone() for name, value in aggregator.state_dict().items()}
    with pytest.raises(ValueError, match=r"remembers a tensor of shape \[3, 8\]"):
        aggregator(gaussian(3, 9))
    after = aggregator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ({"beta1": 1.0}, "`beta1` must be finite and at least 0 and less than 1"),
        ({"beta1": -0.1}, "`beta1` must be finite and at least 0 and less than 1"),
        ({"beta2": 1.0}, "`beta2` must be finite and at least 0 and less than 1"),
        ({"eps": -1.0}, "`eps` must be finite and at least 0"),
    ],
    ids=str,
)
def test_bounds(settings, required):
    with pytest.raises(ValueError, match=required):
        MomentumConFIG(**settings)
