"""Proofs of where the samples sit: from the outputs of a node to its inputs, by sizes alone."""

from ._propagate import propagate

__all__ = ["propagate"]
