"""Methods that draw random numbers, from a generator of their own."""

from typing import Any

import torch
from torch import Tensor, nn

from ._settings import Setting


class Generator(Setting[torch.Generator]):
    """A generator on the CPU; None for one that is seeded from the system."""

    shown = False

    def checked(self, value: Any) -> torch.Generator:
        """Return ``value``, or a new generator for None."""
        if value is None:
            value = torch.Generator("cpu")
            value.seed()
        if not isinstance(value, torch.Generator):
            raise TypeError(
                f"`{self.name}` must be a torch.Generator or None. Got {type(value).__name__}."
            )
        if value.device.type != "cpu":
            raise ValueError(f"`{self.name}` must be on the CPU. Got one on {value.device}.")
        return value


class Drawing(nn.Module):
    """A method that draws from ``generator`` and never from the global random state.

    The state of the generator is part of the ``state_dict``. Draws are made on the CPU, so that
    they are the same on every device.

    :param generator: A generator on the CPU. Default: one that is seeded from the system.
    """

    generator = Generator("Where the random numbers come from.")

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator  # type: ignore[assignment]  # None is replaced

    def uniform(self, *shape: int, like: Tensor) -> Tensor:
        """Return numbers from [0, 1), of the dtype and on the device of ``like``."""
        draws = torch.rand(shape, generator=self.generator, dtype=torch.float64, device="cpu")
        return draws.to(like.device, like.dtype, non_blocking=True)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, in float64 on the CPU."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64, device="cpu")

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator, for the ``state_dict``."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from the state of a generator, out of a ``state_dict``."""
        self.generator.set_state(state.cpu())
