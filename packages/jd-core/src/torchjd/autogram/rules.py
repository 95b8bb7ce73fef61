"""What a rule of the Gramian engine is made of, for plugins that add one.

A rule serves the nodes of one kind: from the cotangents that enter a node and what it saved in the
forward pass, it returns how the losses depend on the parameters that the node read. A kind without
a rule is served exactly too, by one backward of the node for each loss, which is slower.
"""

from ._layout import Layout
from ._rules._call import Call
from ._rules._rule import Rule
from ._uses._outer import OuterProducts
from ._uses._rows import Rows
from ._uses._use import Use

__all__ = ["Call", "Layout", "OuterProducts", "Rows", "Rule", "Use"]
