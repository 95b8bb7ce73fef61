"""Dense float64 references for the Gramian engine, which share no code with it."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""The relative error that a Gramian and a weighted gradient may have, by the model's dtype."""


class Reference(NamedTuple):
    """The Jacobian of the losses, of ``shape``: for each parameter ``[m, *parameter.shape]``."""

    shape: torch.Size
    jacobian: dict[str, Tensor]

    def gramian(self, names: Iterable[str] | None = None) -> Tensor:
        """Return the generalized Gramian with respect to the named parameters, or to all."""
        m = self.shape.numel()
        total = torch.zeros(m, m, dtype=torch.float64)
        for name in self.jacobian if names is None else names:
            rows = self.jacobian[name].reshape(m, -1)
            total += rows @ rows.T
        return generalized(total, self.shape)

    def gradient(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the weighted sum of the rows for each parameter."""
        flat = weights.detach().double().flatten()
        return {name: torch.tensordot(flat, rows, 1) for name, rows in self.jacobian.items()}

    def scales(self, weights: Tensor) -> dict[str, float]:
        """Return for each parameter what the error of its weighted gradient is relative to.

        The sum of the rows' lengths, since rows may cancel; and one per cent of the same for all
        parameters, since some rows are zero but for rounding (the bias before a normalisation).
        """
        m = self.shape.numel()
        flat = weights.detach().double().flatten().abs()
        size = {
            name: float(flat @ rows.reshape(m, -1).norm(dim=1))
            for name, rows in self.jacobian.items()
        }
        return {name: max(own, 0.01 * sum(size.values())) for name, own in size.items()}


def generalized(gramian: Tensor, shape: torch.Size) -> Tensor:
    """Return the entry of objectives i and j at ``[i1, ..., ik, jk, ..., j1]``."""
    k = len(shape)
    return gramian.reshape(*shape, *shape).permute(*range(k), *reversed(range(k, 2 * k)))


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require grad, each once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def by_func(model: nn.Module, forward: Callable[[Callable[..., object]], Tensor]) -> Reference:
    """Return the reference by ``torch.func``, of a model in float64.

    :param model: The model.
    :param forward: From something to be called like the model, to the losses.
    """
    parameters = {name: p.detach() for name, p in trainable(model).items()}
    shape = torch.Size()

    def losses(given: Mapping[str, Tensor]) -> Tensor:
        nonlocal shape
        found = forward(lambda *args: torch.func.functional_call(model, dict(given), args))
        shape = found.shape
        return found.flatten()

    # One row at a time: batched differentiation is wrong for a few nodes (cdist).
    jacobian = torch.func.jacrev(losses, chunk_size=1)(parameters)
    return Reference(shape, jacobian)


def by_rows(losses: Tensor, parameters: Mapping[str, Tensor]) -> Reference:
    """Return the reference by one backward pass for each loss; keeps the graph."""
    tensors = list(parameters.values())
    rows = []
    flat = losses.flatten()
    for i in range(len(flat)):
        found = torch.autograd.grad(flat[i], tensors, retain_graph=True, materialize_grads=True)
        rows.append([g.to_dense().double() for g in found])
    return Reference(
        losses.shape,
        {name: torch.stack([r[k] for r in rows]) for k, name in enumerate(parameters)},
    )


def relative_error(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """Return the Frobenius norm of the difference, relative to that of ``expected``."""
    assert found.shape == expected.shape, f"shape {list(found.shape)}, not {list(expected.shape)}"
    truth = expected.detach().double()
    size = float(truth.norm()) if scale is None else scale
    error = float((found.detach().to_dense().double() - truth).norm())
    return error / size if size else error


def assert_gramian(
    found: Tensor,
    reference: Reference,
    tolerance: float,
    single: Callable[[str], Tensor] | None = None,
) -> None:
    """Assert that a Gramian is the reference's; say which parameters' contributions are off.

    :param single: From a parameter's name to the engine's Gramian for that parameter alone.
    """
    error = relative_error(found, reference.gramian())
    if error <= tolerance:
        return
    lines = [f"the Gramian is off by {error:.3g}, {tolerance:.3g} allowed"]
    for name, rows in reference.jacobian.items():
        line = f"  {name} {list(rows.shape[1:])}"
        if single is not None:
            try:
                own = relative_error(single(name), reference.gramian([name]))
                line += f": off by {own:.3g}" if own > tolerance else ": right"
            except Exception as cause:
                line += f": {type(cause).__name__}: {cause}"
        lines.append(line)
    raise AssertionError("\n".join(lines))


def assert_gradient(
    model: nn.Module, reference: Reference, weights: Tensor, tolerance: float, times: float = 1.0
) -> None:
    """Assert that each ``.grad`` is ``times`` the weighted sum of the reference's rows."""
    parameters = trainable(model)
    scales = reference.scales(weights)
    lines = []
    for name, expected in reference.gradient(weights).items():
        grad = parameters[name].grad
        if grad is None:
            if expected.any():
                lines.append(f"  {name} {list(expected.shape)}: None")
            continue
        error = relative_error(grad, times * expected, times * scales[name])
        if not error <= tolerance:
            lines.append(f"  {name} {list(expected.shape)}: off by {error:.3g}")
    assert not lines, "\n".join(["these `.grad` are wrong", *lines])
