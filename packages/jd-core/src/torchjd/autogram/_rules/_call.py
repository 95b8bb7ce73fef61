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
    r"""A node that reads parameters, in a backward pass.

    There are :math:`m = KB` losses, for :math:`K` tasks and :math:`B` samples. For an output
    :math:`Y` of the node, the pass has computed all gradients
    :math:`\partial \mathcal{L}_{kb} / \partial Y` at once: loss :math:`kb` depends on the part of
    :math:`Y` alone that belongs to sample :math:`b`, so that one tensor of the shape of :math:`Y`
    holds those of all samples. A rule goes on from there to the parameters that the node read.

    The inputs of a node are numbered as its ``next_functions`` are: of a custom
    ``torch.autograd.Function``, the arguments that are tensors. Its outputs are numbered as the
    tensors are that it returned in the forward pass.

    :ivar node: The node; what it saved is read by :meth:`saved`.
    :ivar tasks: :math:`K`, the number of losses a sample.
    :ivar batch: :math:`B`, the number of samples.
    :ivar cotangents: For each output, the gradients of all losses, of shape
        ``[tasks, *output.shape]``; None where no loss depends on it.
    :ivar layouts: For each output, where the samples sit in it; None where its cotangent is None.
    :ivar wanted: From the number of each input that is a parameter to its shape.
    :ivar dtype: In which dtype to compute: at least float32.

    >>> import torch
    >>> from torchjd.autogram.rules import Call, Layout
    >>> matrix = torch.ones(3, 2, requires_grad=True)
    >>> out = torch.ones(4, 3) @ matrix
    >>> call = Call(
    ...     node=out.grad_fn,
    ...     tasks=1,
    ...     batch=4,
    ...     cotangents=[torch.ones(1, 4, 2)],
    ...     layouts=[Layout(0)],
    ...     wanted={1: matrix.shape},
    ...     dtype=torch.float32,
    ... )
    >>> call.name
    'MmBackward0'
    >>> call.per_sample().shape, call.saved("self").shape
    (torch.Size([1, 4, 2]), torch.Size([4, 3]))
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
        """Return the cotangents of the first output, in the dtype to compute in.

        :returns: Of shape ``[tasks, *output.shape]``.
        :raises ValueError: If no loss depends on it.
        """
        cotangent = self.cotangents[0]
        if cotangent is None:
            raise ValueError("`cotangent` needs a cotangent of the first output. Got None.")
        return cotangent.to(self.dtype)

    def per_sample(self) -> Tensor:
        """Return the cotangents of the first output, with the samples in front.

        :returns: Of shape ``[tasks, batch, *rest]``, in the dtype to compute in. What else was in
            the dimension of the samples keeps its place.
        :raises ValueError: If no loss depends on it.
        """
        layout = self.layouts[0]
        if layout is None:
            raise ValueError("`per_sample` needs a cotangent of the first output. Got None.")
        return layout.front(self.cotangent(), self.batch, lead=1)

    def has(self, name: str) -> bool:
        """Whether the node has something that it saved under ``name``.

        :param name: The name, as :meth:`saved` takes it.
        """
        return hasattr(type(self.node), f"_saved_{name}")

    def saved(self, name: str) -> Any:
        """Return what the node saved under ``name``, such as ``"self"``.

        What a custom ``torch.autograd.Function`` saved is read from ``node``, which is the ``ctx``
        of its forward pass: ``node.saved_tensors``, and its attributes.

        :param name: The name of one of the attributes ``_saved_*`` of the node.
        :returns: A tensor, in the dtype that it has, or a number, or another setting.
        :raises AttributeError: If the node saved nothing under that name.
        :raises RuntimeError: If the graph was freed.
        """
        return getattr(self.node, f"_saved_{name}")
