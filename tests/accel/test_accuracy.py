import numpy as np
import pytest

from accel.accuracy import ErrorSum, compare
from accel.errors import ParityError
from accel.prediction import Prediction


def prediction(energy_ev: float, forces: float, n_atoms: int = 2, stress: float | None = None) -> Prediction:
    return Prediction(
        energy_ev,
        np.full((n_atoms, 3), forces),
        None if stress is None else np.full((3, 3), stress),
    )


def test_errors_come_in_mev_and_energies_per_atom() -> None:
    error = compare(prediction(1.004, 0.103, stress=0.2), prediction(1.0, 0.1, stress=0.199))
    assert error.energy_mev_per_atom == pytest.approx(2.0)
    assert error.force_rmse_mev_per_a == pytest.approx(3.0)
    assert error.force_max_mev_per_a == pytest.approx(3.0)
    assert error.stress_rmse_mev_per_a3 == pytest.approx(1.0)


def test_forces_are_averaged_over_components_and_not_over_structures() -> None:
    errors = ErrorSum()
    errors.add(prediction(0.0, 0.002, n_atoms=1), prediction(0.0, 0.0, n_atoms=1))
    errors.add(prediction(0.0, 0.0, n_atoms=3), prediction(0.0, 0.0, n_atoms=3))
    assert errors.stats.force_rmse_mev_per_a == pytest.approx(1.0)
    assert errors.stats.force_max_mev_per_a == pytest.approx(2.0)
    assert errors.stats.n_structures == 2


def test_a_nan_in_one_of_many_forces_is_not_lost() -> None:
    answer = prediction(0.0, 0.0, n_atoms=5)
    answer.forces[3, 1] = np.nan
    error = compare(answer, prediction(0.0, 0.0, n_atoms=5))
    assert np.isnan(error.force_rmse_mev_per_a)
    assert np.isnan(error.force_max_mev_per_a)


def test_stress_that_the_truth_does_not_have_is_not_compared() -> None:
    assert compare(prediction(0.0, 0.0, stress=1.0), prediction(0.0, 0.0)).stress_rmse_mev_per_a3 is None


def test_a_missing_stress_is_no_agreement() -> None:
    with pytest.raises(ParityError, match="no stress"):
        compare(prediction(0.0, 0.0), prediction(0.0, 0.0, stress=1.0))


def test_forces_of_another_shape_are_no_agreement() -> None:
    with pytest.raises(ParityError, match=r"\(1, 3\) where \(2, 3\)"):
        compare(prediction(0.0, 0.0, n_atoms=1), prediction(0.0, 0.0))
