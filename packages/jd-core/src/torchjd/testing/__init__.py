"""What the tests of a plugin's author use: properties, matrices, oracles and tolerances."""

from . import conformance, matrices, scalarizer_conformance
from ._object_properties import (
    assert_copies_agree,
    assert_default_device_plays_no_part,
    assert_deterministic,
    assert_instances_are_separate,
    assert_missing_inputs_are_named,
    assert_recovers,
    assert_refusals,
    assert_reset,
    assert_state_round_trip,
    assert_state_survives,
)
from ._oracles import dense_jacobian, numerical_jacobian, project_onto_dual_cone
from ._properties import (
    assert_blocks_agree,
    assert_compiles,
    assert_homogeneous,
    assert_layout_does_not_matter,
    assert_linear_under_scaling,
    assert_no_conflict,
    assert_non_finite_propagates,
    assert_permutation_invariant,
    assert_shape_and_dtype,
    assert_takes_grad,
    assert_weights_agree,
    assert_zero_of_zero,
)
from ._tolerances import assert_close, tolerance
from .matrices import Example, examples

__all__ = [
    "Example",
    "assert_blocks_agree",
    "assert_close",
    "assert_compiles",
    "assert_copies_agree",
    "assert_default_device_plays_no_part",
    "assert_deterministic",
    "assert_homogeneous",
    "assert_instances_are_separate",
    "assert_layout_does_not_matter",
    "assert_linear_under_scaling",
    "assert_missing_inputs_are_named",
    "assert_no_conflict",
    "assert_non_finite_propagates",
    "assert_permutation_invariant",
    "assert_recovers",
    "assert_refusals",
    "assert_reset",
    "assert_shape_and_dtype",
    "assert_state_round_trip",
    "assert_state_survives",
    "assert_takes_grad",
    "assert_weights_agree",
    "assert_zero_of_zero",
    "conformance",
    "dense_jacobian",
    "examples",
    "matrices",
    "numerical_jacobian",
    "project_onto_dual_cone",
    "scalarizer_conformance",
    "tolerance",
]
