"""ASE's dynamics and optimisers behind one face, with all that must be kept to go on after a kill.

A Nosé–Hoover chain has a memory (positions and momenta of its own), and so has a random number
generator. A run that forgets them when it goes on is another run: its thermostat starts from rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE, LBFGS

from accel.errors import DynamicsError, MissingBackend

Ensemble: TypeAlias = Literal["nve", "langevin", "nose-hoover", "npt", "fire", "lbfgs"]
State: TypeAlias = dict[str, Any]
"""Plain JSON values."""

_CHAIN = ("_thermostat._eta", "_thermostat._p_eta")
_PISTON = (*_CHAIN, "_barostat._xi", "_barostat._p_xi", "_eps", "_p_eps", "_cell0", "_volume0")
_BAR = 1e5 * units.Pascal


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an integrator is asked to keep."""

    time_step_fs: float
    temperature_k: float
    pressure_bar: float
    damping_fs: float
    """Of the thermostat: the inverse of Langevin's friction, the period of a Nosé–Hoover chain."""
    pressure_damping_fs: float
    force_tolerance_ev_per_a: float
    """Where a minimisation ends: the largest force on an atom."""


class Integrator:
    """One of ASE's dynamics, which moves `atoms` a step at a time.

    ASE offers no way to read or set the memory of its thermostats, so their attributes are named here,
    and a test goes on from a checkpoint in every ensemble.
    """

    def __init__(
        self,
        dynamics: Any,
        rng: np.random.Generator,
        *,
        memory: tuple[str, ...] = (),
        conserved: Callable[[], float] | None = None,
        force_tolerance_ev_per_a: float | None = None,
    ) -> None:
        self.conserved_ev = conserved
        """The energy that the exact dynamics would keep; None where there is none."""
        self._dynamics = dynamics
        self._rng = rng
        self._memory = memory
        self._force_tolerance = force_tolerance_ev_per_a

    @property
    def minimises(self) -> bool:
        """Whether this looks for a minimum, without time or velocities."""
        return self._force_tolerance is not None

    def run(self, n_steps: int) -> Iterator[bool]:
        """Evaluate once, then move step by step; whether it has converged, after each."""
        if self._force_tolerance is None:
            yield from self._dynamics.irun(steps=n_steps)
        else:
            yield from self._dynamics.irun(fmax=self._force_tolerance, steps=n_steps)

    def state(self) -> State:
        """What `restore` takes."""
        memory = {name: np.asarray(self._read(name)).tolist() for name in self._memory}
        return {"rng": self._rng.bit_generator.state, "memory": memory}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where an integrator of the same kind was."""
        self._rng.bit_generator.state = state["rng"]
        for name in self._memory:
            owner, attribute = self._owner(name)
            value = np.array(state["memory"][name])
            setattr(owner, attribute, value if value.ndim else float(value))

    def _owner(self, name: str) -> tuple[Any, str]:
        *parts, attribute = name.split(".")
        owner = self._dynamics
        for part in parts:
            owner = getattr(owner, part)
        return owner, attribute

    def _read(self, name: str) -> Any:
        owner, attribute = self._owner(name)
        return getattr(owner, attribute)


def make_integrator(
    ensemble: str, atoms: Atoms, conditions: Conditions, rng: np.random.Generator
) -> Integrator:
    """The integrator for an ensemble, about to move `atoms`.

    Raises:
        DynamicsError: There is no such ensemble, or it needs a cell that the atoms do not have.
        MissingBackend: The ASE that is installed is too old for it.
    """
    if ensemble not in ENSEMBLES:
        raise DynamicsError(f"There is no ensemble {ensemble!r}; there are: {', '.join(ENSEMBLES)}.")
    return ENSEMBLES[ensemble](atoms, conditions, rng)


def _nve(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    dynamics = VelocityVerlet(atoms, conditions.time_step_fs * units.fs)
    return Integrator(dynamics, rng, conserved=atoms.get_total_energy)


def _langevin(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    dynamics = Langevin(
        atoms,
        conditions.time_step_fs * units.fs,
        temperature_K=conditions.temperature_k,
        friction=1.0 / (conditions.damping_fs * units.fs),
        fixcm=False,  # with it the distribution sampled is not quite the canonical one
        rng=rng,
    )
    return Integrator(dynamics, rng)


def _nose_hoover(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    dynamics = _chains("NoseHooverChainNVT")(
        atoms,
        conditions.time_step_fs * units.fs,
        temperature_K=conditions.temperature_k,
        tdamp=conditions.damping_fs * units.fs,
    )
    return Integrator(dynamics, rng, memory=_CHAIN, conserved=dynamics.get_conserved_energy)


def _npt(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    if not atoms.pbc.all():
        raise DynamicsError(
            f"Constant pressure needs a structure that is periodic in all directions, and {atoms.symbols} "
            "is not: take nose-hoover or langevin."
        )
    dynamics = _chains("IsotropicMTKNPT")(
        atoms,
        conditions.time_step_fs * units.fs,
        temperature_K=conditions.temperature_k,
        pressure_au=conditions.pressure_bar * _BAR,
        tdamp=conditions.damping_fs * units.fs,
        pdamp=conditions.pressure_damping_fs * units.fs,
    )
    return Integrator(dynamics, rng, memory=_PISTON, conserved=dynamics.get_conserved_energy)


def _chains(name: str) -> Any:
    try:
        from ase.md import nose_hoover_chain

        return getattr(nose_hoover_chain, name)
    except (ImportError, AttributeError) as error:
        raise MissingBackend(
            f"The installed ASE has no {name}: pip install 'ase>=3.26', or take the ensemble langevin."
        ) from error


def _fire(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    dynamics = FIRE(atoms, logfile=None)
    return Integrator(dynamics, rng, force_tolerance_ev_per_a=conditions.force_tolerance_ev_per_a)


def _lbfgs(atoms: Atoms, conditions: Conditions, rng: np.random.Generator) -> Integrator:
    dynamics = LBFGS(atoms, logfile=None)  # type: ignore[arg-type]  # ASE itself takes None
    return Integrator(dynamics, rng, force_tolerance_ev_per_a=conditions.force_tolerance_ev_per_a)


ENSEMBLES: Mapping[str, Callable[[Atoms, Conditions, np.random.Generator], Integrator]] = MappingProxyType(
    {
        "nve": _nve,
        "langevin": _langevin,
        "nose-hoover": _nose_hoover,
        "npt": _npt,
        "fire": _fire,
        "lbfgs": _lbfgs,
    }
)
"""Velocity Verlet; Langevin; Nosé–Hoover chain; Martyna–Tobias–Klein with the shape of the cell kept; and
two minimisers."""
