"""The kit for scalarizers finds what is wrong with one that breaks a rule."""

import pytest
import torch
from torch import nn

from torchjd.aggregation import Traits
from torchjd.scalarization import Scalarizer
from torchjd.testing import scalarizer_conformance


class Good(Scalarizer):
    """The mean, with all that a scalarizer can have: learned, remembered and drawn."""

    traits = Traits(permutation=True, compiles=True)

    def __init__(self, m=1):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("last", torch.zeros((), dtype=torch.float64))

    def forward(self, values, /):
        loss = self.scale.to(values.dtype) * self.mean(values)
        total = loss.detach().double()
        previous, self.last = self.last, torch.where(total.isfinite(), total, self.last)
        return loss + previous.to(values.dtype)

    def mean(self, values):
        return values.double().mean().to(values.dtype)

    def reset(self):
        self.last = torch.zeros_like(self.last)
        with torch.no_grad():
            self.scale.fill_(1.0)


class Float32(Good):
    def mean(self, values):
        return values.float().mean()


class Rounded(Good):
    def mean(self, values):
        # Less than the dtype of the values can say: right in float64 alone.
        return super().mean(values.bfloat16() if values.dtype == torch.float32 else values)


class Writing(Good):
    def mean(self, values):
        values.data.add_(1.0)
        return super().mean(values)


class Detached(Good):
    def mean(self, values):
        return super().mean(values.detach()) + 0 * values.sum()


class Finite(Good):
    def mean(self, values):
        return super().mean(values.nan_to_num(0.0, 0.0, 0.0))


class Ordered(Good):
    def mean(self, values):
        return super().mean(values) + values.flatten()[0]


class Branching(Good):
    def mean(self, values):
        return super().mean(values) if bool(values.sum() > 0) else values.max()


class GloballyRandom(Good):
    def mean(self, values):
        return super().mean(values) + torch.rand(())


class Broadcasting(Good):
    def __init__(self, m):
        super().__init__()
        self.register_buffer("weights", torch.ones(m))

    def mean(self, values):
        return super().mean(self.weights.to(values.dtype) * values) * len(self.weights)


class Strided(Good):
    def mean(self, values):
        return super().mean(values.as_strided(values.shape, values.contiguous().stride()))


class Unsaved(Good):
    def __init__(self, m=1):
        super().__init__()
        self.register_buffer("last", torch.zeros((), dtype=torch.float64), persistent=False)


class Shared(Good):
    seen = []

    def mean(self, values):
        self.seen.append(values)
        return super().mean(values) * len(self.seen)


class Unreset(Good):
    def reset(self):
        self.last = torch.zeros_like(self.last)


class Poisoned(Good):
    def forward(self, values, /):
        loss = super().forward(values)
        self.last = loss.detach().double()
        return loss


class Unpicklable(Good):
    def __init__(self, m=1):
        super().__init__()
        self.hook = lambda loss: loss


class Anything(Good):
    def __call__(self, values, /):
        values = torch.as_tensor(values)
        values = values if values.is_floating_point() else values.real.double()
        return super().__call__(values if values.numel() else torch.ones(1))


BROKEN = {
    "dtypes": [Float32, Rounded, Writing],
    "promise: gradient": [Detached],
    "non_finite_propagates": [Finite],
    "promise: permutation": [Ordered],
    "promise: compiles": [Branching],
    "deterministic": [GloballyRandom],
    "shapes_agree": [Broadcasting],
    "layout_does_not_matter": [Strided],
    "state_round_trip": [Unsaved],
    "instances_are_separate": [Shared],
    "reset": [Unreset],
    "state_survives": [Poisoned],
    "copies_agree": [Unpicklable],
    "refusals": [Anything],
}
CASES = {str(case): case for case in scalarizer_conformance.cases(Good)}


@pytest.mark.parametrize("name", CASES)
def test_what_is_right_passes(name):
    CASES[name]()


@pytest.mark.parametrize(
    ("name", "cls"), [(name, cls) for name, classes in BROKEN.items() for cls in classes]
)
def test_what_is_wrong_is_found(name, cls):
    case = {str(case): case for case in scalarizer_conformance.cases(cls)}[name]
    with pytest.raises(Exception, match=r"(?s).+") as refusal:
        case()
    if name not in {"promise: compiles", "copies_agree"}:  # where what fails is a call
        assert isinstance(refusal.value, AssertionError)


def test_every_case_finds_something():
    assert set(CASES) == set(BROKEN)


def test_promises_must_be_known():
    with pytest.raises(ValueError, match=r"`promises` must be among .* Got no conflict"):
        scalarizer_conformance.cases(Good, promises={"no conflict"})


def test_steps_can_be_others():
    seen = []

    def advance(scalarizer, values):
        seen.append(scalarizer)
        return scalarizer(values).detach()

    for case in scalarizer_conformance.cases(Good, promises=(), advance=advance):
        case()
    assert seen
