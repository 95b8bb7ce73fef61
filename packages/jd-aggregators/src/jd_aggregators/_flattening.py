"""Flattening: a weighting of vectors, applied to losses of any shape."""

from torch import Tensor

from torchjd.aggregation import GeneralizedWeighting, Weighting
from torchjd.linalg import PSDMatrix, flatten_gramian


class Flattening(GeneralizedWeighting):
    r"""Weigh a tensor of objectives as the vector of its elements.

    A generalized Gramian of shape ``[d1, ..., dk, dk, ..., d1]`` becomes a Gramian of shape
    ``[m, m]``, with ``m = d1 * ... * dk``; its weights come back in shape ``[d1, ..., dk]``.

    :param weighting: A weighting that works from a Gramian.
    :raises TypeError: If ``weighting`` is none.

    >>> import torch
    >>> from torchjd.aggregation import Flattening, UPGradWeighting
    >>> J = torch.randn(16, 2, 10, generator=torch.Generator().manual_seed(0))
    >>> gramian = torch.einsum("abn,cdn->abdc", J, J)
    >>> gramian.shape, Flattening(UPGradWeighting())(gramian).shape
    (torch.Size([16, 2, 2, 16]), torch.Size([16, 2]))
    """

    def __init__(self, weighting: Weighting[PSDMatrix]) -> None:
        super().__init__()
        if not isinstance(weighting, Weighting) or isinstance(weighting, GeneralizedWeighting):
            raise TypeError(
                "`weighting` must be a weighting that works from a Gramian. Got "
                f"{type(weighting).__name__}. Pass an instance, for instance `UPGradWeighting()`."
            )
        self.weighting = weighting

    def forward(self, generalized_gramian: Tensor, /) -> Tensor:
        """Return the weights, of shape ``[d1, ..., dk]``."""
        shape = generalized_gramian.shape[: generalized_gramian.ndim // 2]
        return self.weighting(flatten_gramian(generalized_gramian)).reshape(shape)
