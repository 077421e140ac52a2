"""Energies, forces and stresses without autograd: a hand-written reverse pass in compiled kernels."""

from accel.evaluator.engine import CompiledEvaluator

__all__ = ["CompiledEvaluator"]
