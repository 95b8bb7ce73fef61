"""Methods that remember tensors between calls."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._on_host import on_host


class Remembering(nn.Module):
    """A method whose state is a few tensors, of a size that the first call tells.

    They are buffers: part of the ``state_dict``, which loads into an object that was never called,
    and moved along with the module. A call that is refused, or whose input is not finite, leaves
    all of them as they were.

    :cvar remembers: Their names, which begin with an underscore.
    """

    remembers: ClassVar[tuple[str, ...]]

    _calls: Tensor | None
    """How many calls have been remembered, of shape ``[]``; None before the first."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("_calls", *self.remembers):
            self.register_buffer(name, None)

    def reset(self) -> None:
        """Forget the past: behave like a fresh object with the same parameters."""
        for name in ("_calls", *self.remembers):
            setattr(self, name, None)

    def recall(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return what is remembered as ``name``; zeros, if nothing is.

        :param name: Of the buffer.
        :param shape: What it must be of.
        :param like: Whose dtype and device the result has.
        :raises ValueError: If what is remembered has another shape.
        """
        kept: Tensor | None = getattr(self, name)
        if kept is None:
            return torch.zeros(shape, dtype=like.dtype, device=like.device)
        if kept.shape != shape:
            raise ValueError(
                f"`{type(self).__name__}` remembers a tensor of shape {list(kept.shape)}, and now "
                f"needs one of shape {list(shape)}: the objectives or parameters are others. Call "
                "`reset()` first, or use an object for each set of them."
            )
        return kept.to(like.device, like.dtype)

    def is_first(self, like: Tensor) -> Tensor:
        """Return whether nothing has been remembered yet, of shape ``[]``, where ``like`` is."""
        if self._calls is None:
            return torch.ones((), dtype=torch.bool, device=like.device)
        return self._calls.to(like.device) == 0

    def count(self, like: Tensor) -> Tensor:
        """Return the number of this call, 1 for the first, of the dtype and where ``like`` is."""
        calls = self._calls if self._calls is not None else _no_calls()
        return calls.to(like.device, like.dtype, non_blocking=True) + 1

    def remember(self, sound: Tensor, **values: Tensor) -> None:
        """Keep ``values``, and count the call, where ``sound``; on a device, unread.

        On the host the new values take the place of the old ones, which saves to select between
        them, element by element. So they must be tensors that nobody else holds.

        :param sound: Whether the call counts, of shape ``[]``: whether its input is finite.
        :param values: By name of the buffer.
        """
        if on_host(sound):
            if sound:
                self.keep(**values)
            return
        for name, value in values.items():
            kept = self.recall(name, tuple(value.shape), value)
            setattr(self, name, torch.where(sound, value.detach(), kept))
        calls = self._calls if self._calls is not None else _no_calls()
        self._calls = calls.to(sound.device, non_blocking=True) + sound

    def keep(self, **values: Tensor) -> None:
        """Keep ``values``, and count the call.

        :param values: By name of the buffer, on the host.
        """
        buffers: dict[str, Any] = self._buffers  # the setter of a module costs as much as a sum
        for name, value in values.items():
            buffers[name] = value.detach()
        calls = buffers["_calls"]
        buffers["_calls"] = torch.tensor(1, device="cpu") if calls is None else calls.cpu() + 1

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        *rest: Any,
    ) -> None:
        # What is saved may be of a problem that this object has not seen, or of one less.
        for name in ("_calls", *self.remembers):
            saved = state_dict.get(f"{prefix}{name}")
            setattr(self, name, None if saved is None else torch.empty_like(saved))
            # After a call that counts there is all of it.
            if saved is None and strict and f"{prefix}_calls" in state_dict:
                missing_keys.append(f"{prefix}{name}")
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *rest
        )


class ResetsWeighting(nn.Module):
    """An aggregator that remembers nothing but what its weighting does."""

    def reset(self) -> None:
        """Forget the past: behave like a fresh object with the same parameters."""
        weighting: Any = self.weighting
        weighting.reset()


def _no_calls() -> Tensor:
    """Return 0, of shape ``[]``, on the CPU whatever the default device."""
    return torch.zeros((), dtype=torch.int64, device="cpu")
