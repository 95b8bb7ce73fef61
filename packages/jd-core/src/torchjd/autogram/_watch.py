"""What is seen of a pass while it runs, for a report."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


class Served(NamedTuple):
    """A node that was served.

    :ivar kind: The name of its kind.
    :ivar by: The name of the rule; None for the fallback.
    :ivar leaves: The leaves that it was served for.
    """

    kind: str
    by: str | None
    leaves: Sequence[Tensor]


class Watch:
    """A pass that nobody watches."""

    def begin(self) -> None:
        """Forget what was seen: a pass begins, or begins anew."""

    def served(self, kind: str, by: str | None, leaves: Sequence[Tensor]) -> None:
        """Take note of a node that was served."""

    def counting(self, _leaves: Sequence[Tensor], /) -> AbstractContextManager[None]:
        """Count the operations within as done for the leaves."""
        return nullcontext()


@dataclass
class Recorder(Watch):
    """A pass of which everything is written down.

    :ivar nodes: The nodes served, in the order of the pass.
    :ivar flops: By the identity of each leaf, the floating-point operations done for it alone.
    """

    nodes: list[Served] = field(default_factory=list)
    flops: dict[int, float] = field(default_factory=dict)

    def begin(self) -> None:
        self.nodes.clear()
        self.flops.clear()

    def served(self, kind: str, by: str | None, leaves: Sequence[Tensor]) -> None:
        self.nodes.append(Served(kind, by, leaves))

    @contextmanager
    def counting(self, leaves: Sequence[Tensor], /) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        for leaf in leaves:
            share = counter.get_total_flops() / len(leaves)
            self.flops[id(leaf)] = self.flops.get(id(leaf), 0.0) + share
