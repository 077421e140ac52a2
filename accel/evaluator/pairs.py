"""What depends on the elements of both ends of an edge: ZBL repulsion, and tables for each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from accel.evaluator.agreement import must_agree
from accel.evaluator.compilation import kernel
from accel.mace_torch import default_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Repulsion:
    """ZBL repulsion of two atoms; arrays are [n_elements, n_elements]."""

    charge: NDArray[np.float64]
    """e² Z Z', eV·Å."""
    length_a: NDArray[np.float64]
    """Screening length, Å."""
    reach_a: NDArray[np.float64]
    """Where the envelope ends, Å."""
    coefficients: NDArray[np.float64]
    """[4], of the screening function."""
    exponents: NDArray[np.float64]
    """[4]."""
    power: int
    """Of the polynomial envelope."""


def read_repulsion(model: Any) -> Repulsion:
    """ZBL for every pair of the model's elements, checked against the module."""
    zbl = model.pair_repulsion_fn
    z = model.atomic_numbers.double().numpy()
    powers = z ** float(zbl.a_exp)
    radii = zbl.covalent_radii.numpy()[model.atomic_numbers.numpy()]
    found = Repulsion(
        charge=14.3996 * np.outer(z, z),
        length_a=float(zbl.a_prefactor) * 0.529 / np.add.outer(powers, powers),
        reach_a=np.add.outer(radii, radii),
        coefficients=zbl.c.numpy().copy(),
        exponents=np.array([3.2, 0.9423, 0.4028, 0.2016]),
        power=int(zbl.p),
    )
    n = len(z)
    sender, receiver = (index.reshape(-1) for index in np.indices((n, n)))
    r = np.random.default_rng(0).uniform(0.2, 1.0, n * n) * found.reach_a[sender, receiver]
    # Every edge has a receiver of its own, so that the module's sum over receivers tells them apart.
    attributes = torch.eye(n, dtype=torch.float64)[np.concatenate([sender, receiver])]
    edges = torch.arange(2 * n * n).reshape(2, -1)
    with default_dtype(torch.float64):
        theirs = zbl(torch.from_numpy(r)[:, None], attributes, edges, model.atomic_numbers)[n * n :]
    must_agree(_repulsion_energy(found, sender, receiver, r), theirs.numpy(), "the ZBL repulsion")
    return found


def _repulsion_energy(zbl: Repulsion, i: Any, j: Any, r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the energy of pairs of elements at these distances: the receiver's share."""
    screened = np.exp(-np.outer(r / zbl.length_a[i, j], zbl.exponents)) @ zbl.coefficients
    x, p = r / zbl.reach_a[i, j], zbl.power
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    energy: NDArray[np.float64] = 0.5 * zbl.charge[i, j] / r * screened * envelope
    return energy


class PairArrays(NamedTuple):
    """What kernels read about pairs of the elements present; all [n_present, n_present]."""

    table: Any
    """int64, by sender and receiver: the first knot of their radial table."""
    charge: Any
    """eV·Å; zero where the model has no repulsion."""
    length: Any
    """Å."""
    reach: Any
    """Å."""
    coefficients: Any
    """[4]."""
    exponents: Any
    """[4]."""
    power: int


def pair_arrays(
    repulsion: Repulsion | None, elements: NDArray[np.int64], table: NDArray[np.int64]
) -> PairArrays:
    """Arrays for the elements present (indices into the model's)."""
    n = len(elements)
    if repulsion is None:
        zeros = np.zeros((n, n))
        return PairArrays(table, zeros, zeros, zeros, np.zeros(4), np.zeros(4), 0)
    chosen = np.ix_(elements, elements)
    return PairArrays(
        table,
        np.ascontiguousarray(repulsion.charge[chosen]),
        np.ascontiguousarray(repulsion.length_a[chosen]),
        np.ascontiguousarray(repulsion.reach_a[chosen]),
        repulsion.coefficients,
        repulsion.exponents,
        repulsion.power,
    )


@kernel
def choose_tables(edges: Any, pairs: Any, element: Any, start: int, stop: int) -> None:
    """Move the knots of what atoms `start` … `stop` - 1 receive to the tables of their pairs of elements.

    Args:
        edges: `geometry.Edges`, whose knots count from the start of one table.
        pairs: `PairArrays`.
        element: [n_atoms], int64, index among the elements present.
        start: First atom.
        stop: End of the atoms.
    """
    for a in range(start, stop):
        for edge in range(edges.first[a], edges.first[a] + edges.count[a]):
            edges.knot[edge] += pairs.table[element[edges.neighbour[edge]], element[a]]


@kernel
def repel(
    edges: Any,
    pairs: Any,
    element: Any,
    scale: float,
    start: int,
    stop: int,
    energies: Any,
    forces: Any,
    virial: Any,
) -> None:
    """Add the ZBL repulsion that atoms `start` … `stop` - 1 feel (Ziegler, Biersack, Littmark, 1985).

    An edge stands in the list of both its atoms: each takes its half of the energy, and the whole
    force on itself. All sums are in fp64.
    """
    p = pairs.power
    for a in range(start, stop):
        for edge in range(edges.first[a], edges.first[a] + edges.count[a]):
            i = element[a]
            j = element[edges.neighbour[edge]]
            r = edges.distance[edge]
            x = r / pairs.reach[i, j]
            if x >= 1.0:
                continue
            screened = 0.0
            by_screened = 0.0
            for k in range(4):
                rate = pairs.exponents[k] / pairs.length[i, j]
                term = pairs.coefficients[k] * np.exp(-rate * r)
                screened += term
                by_screened -= rate * term
            power = x ** (p - 1)
            envelope = 1.0 - power * x * (
                0.5 * (p + 1) * (p + 2) - p * (p + 2) * x + 0.5 * p * (p + 1) * x * x
            )
            by_envelope = -0.5 * p * (p + 1) * (p + 2) * power * (1.0 - x) ** 2 / pairs.reach[i, j]
            half = 0.5 * scale * pairs.charge[i, j] / r
            energies[a] += half * screened * envelope
            slope = half * (by_screened * envelope + screened * by_envelope - screened * envelope / r)
            for k in range(3):
                along = slope * edges.unit[edge, k]
                forces[a, k] -= 2.0 * along
                for m in range(3):
                    virial[m, k] += r * edges.unit[edge, m] * along
