"""What a rule is."""

from collections.abc import Callable, Mapping

from torchjd.autogram._uses._use import Use

from ._call import Call

Rule = Callable[[Call], Mapping[int, Use] | None]
"""From a node and its cotangents to the use of each wanted input, or None if it cannot tell."""
