"""What a method guarantees and costs, as it declares on its class."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Traits:
    r"""What users choose a method by; the conformance kit tries what can be tried.

    :ivar no_conflict: Whether :math:`g_i \cdot \mathcal{A}(J) \ge 0` for every row :math:`g_i`.
    :ivar permutation: Whether the order of the rows does not matter.
    :ivar linear_under_scaling: Whether :math:`c \mapsto \mathcal{A}(\mathrm{diag}(c) J)` is linear
        where c > 0, so that an objective has a say in proportion to its gradient.
    :ivar scaling: How the result scales with :math:`J`, where ``degree`` alone cannot say it.
    :ivar state: The size of what is remembered between calls, such as ``"m"`` or ``"m n"``; empty
        for nothing.
    :ivar random: Whether it draws random numbers, from a ``generator`` of its own.
    :ivar cost: The arithmetic beside that of the Jacobian, such as ``"m^2 n + m^3"``.
    :ivar on_device: Whether a call on a GPU reads nothing on the host.
    :ivar compiles: Whether the weighting, or what has none, traces whole with ``torch.compile``.

    >>> from torchjd.aggregation import Traits, UPGrad
    >>> UPGrad.traits.no_conflict
    True
    >>> Traits().state
    ''
    """

    no_conflict: bool = False
    permutation: bool = False
    linear_under_scaling: bool = False
    scaling: str = ""
    state: str = ""
    random: bool = False
    cost: str = ""
    on_device: bool = False
    compiles: bool = False
