"""What `configure_aggregator` may return, and what is made of it."""

from typing import Any

from torchjd.aggregation import Aggregator, GramianWeightedAggregator, Weighting


def check_configured(configured: object) -> Aggregator | Weighting[Any]:
    """Return what the user configured.

    :raises TypeError: If it is neither an aggregator nor a weighting.
    """
    if isinstance(configured, Aggregator | Weighting):
        return configured
    found = f"the class {configured.__name__}" if isinstance(configured, type) else repr(configured)
    raise TypeError(
        "`configure_aggregator` must return an Aggregator, or a Weighting for losses of samples. "
        f"Got {found}. Return an instance, for instance `UPGrad()`."
    )


def as_aggregator(configured: Aggregator | Weighting[Any]) -> Aggregator:
    """Return what combines the rows of a Jacobian.

    :raises TypeError: If it is a weighting, or reads the Gramian across two batches.
    """
    if not isinstance(configured, Aggregator):
        raise TypeError(
            "`configure_aggregator` must return an Aggregator, since `objectives` was given one "
            f"scalar loss an objective. Got {configured!r}. Return the aggregator of that method, "
            "or `WeightedAggregator(weighting)`."
        )
    _refuse_cross_gramian(configured)
    return configured


def as_weighting(configured: Aggregator | Weighting[Any]) -> Weighting[Any]:
    """Return what weighs the losses of samples by their Gramian.

    :raises TypeError: If it does not work from a Gramian.
    """
    weighting: object = configured
    if isinstance(configured, GramianWeightedAggregator):
        weighting = configured.gramian_weighting
    if not isinstance(weighting, Weighting) or weighting.needs == "jacobian":
        raise TypeError(
            "`configure_aggregator` must return a Weighting that works from the Gramian, or a "
            "GramianWeightedAggregator, since `objectives` was given one tensor with the losses of "
            f"samples. Got {configured!r}. Return, for instance, `UPGradWeighting()`, or pass "
            "scalar losses to `objectives`."
        )
    _refuse_cross_gramian(weighting)
    return weighting


def _refuse_cross_gramian(method: Aggregator | Weighting[Any]) -> None:
    if method.needs == "cross gramian":
        raise TypeError(
            "`configure_aggregator` must return a method that needs no second batch. Got "
            f"{method!r}, which reads the Gramian across two independent batches. Use it in "
            "manual optimisation, with `torchjd.autojac.jac_to_grad(..., cross_gramian=...)`."
        )
