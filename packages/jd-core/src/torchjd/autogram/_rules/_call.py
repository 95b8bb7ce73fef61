"""What a rule is given: a node of the graph, and the cotangents that enter it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from torchjd.autogram._layout import Layout


@dataclass
class Call:
    """A node that reads parameters, in a backward pass.

    The inputs of a node are numbered as its ``next_functions`` are, its outputs as the tensors are
    that it returned in the forward pass.

    :ivar node: The node; what it saved is read by :meth:`saved`.
    :ivar tasks: :math:`K`, the number of losses a sample.
    :ivar batch: :math:`B`, the number of samples.
    :ivar cotangents: For each output, the gradients of all losses, of shape
        ``[tasks, *output.shape]``; None where no loss depends on it.
    :ivar layouts: For each output, where the samples sit in it; None where its cotangent is None.
    :ivar wanted: From the number of each input that is a parameter to its shape.
    :ivar dtype: In which dtype to compute: at least float32.
    """

    node: Node
    tasks: int
    batch: int
    cotangents: Sequence[Tensor | None]
    layouts: Sequence[Layout | None]
    wanted: Mapping[int, torch.Size]
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """The name of the node's kind, such as ``"AddmmBackward0"``."""
        return type(self.node).__name__

    @property
    def layout(self) -> Layout | None:
        """Where the samples sit in the first output, if it is the only one with a cotangent."""
        if any(cotangent is not None for cotangent in self.cotangents[1:]):
            return None
        return self.layouts[0]

    def cotangent(self) -> Tensor:
        """Return the cotangents of the first output, of shape ``[tasks, *output.shape]``."""
        cotangent = self.cotangents[0]
        if cotangent is None:
            raise ValueError("`cotangent` needs a cotangent of the first output. Got None.")
        return cotangent.to(self.dtype)

    def per_sample(self) -> Tensor:
        """Return the cotangents of the first output, of shape ``[tasks, batch, *rest]``."""
        layout = self.layouts[0]
        if layout is None:
            raise ValueError("`per_sample` needs a cotangent of the first output. Got None.")
        return layout.front(self.cotangent(), self.batch, lead=1)

    def has(self, name: str) -> bool:
        """Whether the node saved something under ``name``."""
        return hasattr(type(self.node), f"_saved_{name}")

    def saved(self, name: str) -> Any:
        """Return what the node saved under ``name``."""
        return getattr(self.node, f"_saved_{name}")
