"""What kernels have as numbers in their instructions is what it is read to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accel.evaluator.common_contraction import outputs_with
from accel.evaluator.edge_lanes import hermite_basis
from accel.ops.polynomial import from_symmetric_contraction
from accel.reference import load_model
from tests.accel.random_models import random_model


def sorted_terms(model: Any, layer: int) -> list[list[int]]:
    """Output and factors of a layer's terms, linear and quadratic ones with 16 for the constant 1."""
    poly = from_symmetric_contraction(model.double().products[layer].symmetric_contractions)
    factors = np.full((len(poly.factors), 3), 16)
    factors[:, : poly.degree] = poly.factors
    return sorted([int(m), *(int(i) for i in row)] for m, row in zip(poly.out, factors, strict=True))


def test_the_contractions_of_usual_models_are_recognised() -> None:
    model = load_model("h2co-medium")

    assert outputs_with(sorted_terms(model, 0)) == 4
    assert outputs_with(sorted_terms(model, 1)) == 1


def test_another_contraction_is_not_taken_for_one_that_is_written_out() -> None:
    assert outputs_with(sorted_terms(random_model(max_ell=2), 0)) == 0
    assert outputs_with(sorted_terms(random_model(max_ell=3, correlation=2), 0)) == 0


@pytest.mark.parametrize("n_data", [2, 3, 4])
def test_a_polynomial_is_its_own_interpolant(n_data: int) -> None:
    polynomial = np.polynomial.Polynomial(np.random.default_rng(0).normal(size=2 * n_data))
    data = [polynomial.deriv(k)(end) for end in (0.0, 1.0) for k in range(n_data)]

    wanted = np.asarray(polynomial.coef, dtype=np.float64)
    np.testing.assert_allclose(np.array(data) @ hermite_basis(n_data), wanted, atol=1e-12)
