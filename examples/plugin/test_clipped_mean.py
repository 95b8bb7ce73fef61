"""The method against all that the conformance kit tries."""

import pytest
from clipped_mean import ClippedMean

from torchjd.testing import conformance


@pytest.mark.parametrize("case", conformance.cases(lambda _: ClippedMean()), ids=str)
def test_conformance(case):
    case()
