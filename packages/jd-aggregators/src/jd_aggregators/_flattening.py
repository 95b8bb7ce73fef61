"""Flattening: a weighting of vectors, applied to losses of any shape."""

from torch import Tensor

from torchjd.aggregation import GeneralizedWeighting, Stateful, Traits, Weighting
from torchjd.linalg import PSDMatrix, flatten_gramian


class Flattening(GeneralizedWeighting):
    r"""Weigh a tensor of objectives as the vector of its elements.

    A generalized Gramian of shape ``[d1, ..., dk, dk, ..., d1]`` becomes a Gramian of shape
    ``[m, m]``, with ``m = d1 * ... * dk``; its weights come back in shape ``[d1, ..., dk]``.

    :param weighting: A weighting that works from a Gramian. The values of the objectives, if it
        needs them, are flattened too.
    :raises TypeError: If ``weighting`` is none.

    >>> import torch
    >>> from torchjd.aggregation import Flattening, UPGradWeighting
    >>> J = torch.randn(16, 2, 10, generator=torch.Generator().manual_seed(0))
    >>> gramian = torch.einsum("abn,cdn->abdc", J, J)
    >>> gramian.shape, Flattening(UPGradWeighting())(gramian).shape
    (torch.Size([16, 2, 2, 16]), torch.Size([16, 2]))
    """

    traits = Traits(permutation=True, on_device=True, compiles=True)

    def __init__(self, weighting: Weighting[PSDMatrix]) -> None:
        super().__init__()
        flat = isinstance(weighting, Weighting) and not isinstance(weighting, GeneralizedWeighting)
        if not flat or weighting.needs not in ("gramian", "row count"):
            raise TypeError(
                "`weighting` must be a weighting that works from a Gramian. Got "
                f"{type(weighting).__name__}. Pass an instance, for instance `UPGradWeighting()`."
            )
        self.weighting = weighting

    @property
    def needs_losses(self) -> bool:
        """Whether the weighting reads the values of the objectives."""
        return self.weighting.needs_losses

    @property
    def degree(self) -> float | None:
        """That of the weighting."""
        return self.weighting.degree

    def reset(self) -> None:
        """Forget the past of the weighting, if it has one."""
        if isinstance(self.weighting, Stateful):
            self.weighting.reset()

    def forward(self, generalized_gramian: Tensor, /, *, losses: Tensor | None = None) -> Tensor:
        """Return the weights, of shape ``[d1, ..., dk]``."""
        shape = generalized_gramian.shape[: generalized_gramian.ndim // 2]
        gramian = flatten_gramian(generalized_gramian)
        return self.weighting(gramian, losses=losses).reshape(shape)
