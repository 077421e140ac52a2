"""Energy, forces and stress of a model by compiled kernels, without autograd."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accel.data import check_elements, check_geometry
from accel.errors import PlanError, StructureError
from accel.evaluator import passes
from accel.evaluator.block import STEPS, Work, make_work
from accel.evaluator.counting import multiply_adds
from accel.evaluator.edge_lanes import KNOT_DATA
from accel.evaluator.geometry import Edges, allocate, measure_edges
from accel.evaluator.numbering import blocks_of, order_of, shares_of
from accel.evaluator.packing import PackedLayer, pack
from accel.evaluator.pairs import PairArrays, choose_tables, pair_arrays, repel
from accel.evaluator.prepared import PreparedModel
from accel.evaluator.radial import R_MIN_A, knots, table_pairs
from accel.evaluator.structure import Structure, make_nodes
from accel.evaluator.tables import layer_arrays
from accel.evaluator.team import Team
from accel.neighbours import Candidates, NeighbourList
from accel.prediction import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from numpy.typing import NDArray

_RADIAL_TOLERANCE = {"float64": 2e-9, "float32": 3e-5}
"""Largest error of a tabulated derivative, as a fraction of the largest radial weight's slope."""


class CompiledEvaluator:
    """One model, evaluated by kernels that numba compiles at first use and keeps on disk.

    Not to be shared between threads: it keeps a neighbour list and work space between calls.

    Args:
        model: A mace-torch MACE or ScaleShiftMACE; it is read, not changed.
        dtype: Working precision. Geometry, energies and forces are summed in fp64 in both.
        threads: Threads over blocks of atoms.
        skin_a: How far beyond the cutoff neighbours are kept, Å.
        radial_error: Largest error of a tabulated derivative, as a fraction of the largest radial weight's
            slope; by default what suits the precision.
        head: Which of several heads; by default the only one, or the one named `default`.

    Raises:
        PlanError: The model has a part that is not covered, or an argument is out of range.
        ModelError: The model has no such head.
    """

    def __init__(
        self,
        model: Any,
        *,
        dtype: Literal["float64", "float32"] = "float64",
        threads: int = 1,
        skin_a: float = 0.5,
        radial_error: float | None = None,
        head: str | None = None,
    ) -> None:
        if dtype not in _RADIAL_TOLERANCE:
            raise PlanError(f"The compiled evaluator has no precision {dtype!r}: use 'float64' or 'float32'.")
        if threads < 1:
            raise PlanError(f"{threads} threads cannot evaluate a model: give 1 or more.")
        if radial_error is None:
            radial_error = _RADIAL_TOLERANCE[dtype]
        if not 0 < radial_error < 1:
            raise PlanError(
                f"A radial table cannot be wrong by {radial_error}: give a part of 1, such as 1e-6."
            )
        self.threads = threads
        self.dtype = dtype
        self._prepared = PreparedModel(model, head=head, radial_error=radial_error, n_data=KNOT_DATA[dtype])
        self._extracted = self._prepared.extracted
        self._intervals = self._prepared.n_intervals
        self._neighbours = NeighbourList(self._extracted.cutoff_a, skin_a)
        self._structure: Structure | None = None
        self._candidates: Candidates | None = None
        self._edges: Edges | None = None
        self._team = Team(threads) if threads > 1 else None
        self._layers_of: dict[tuple[int, ...], tuple[PackedLayer, ...]] = {}
        self._shares: list[tuple[int, int, int]] = []
        self._work: list[Work] = []
        self.step_ticks = np.zeros(len(STEPS), dtype=np.int64)
        """Time spent in each step, over all evaluations and threads, in ticks of the processor."""

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        """Energy, forces, per-atom energies and, where asked for and periodic, stress of `atoms`.

        Raises:
            StructureError: The model cannot take these atoms (an unknown element, NaN positions,
                two atoms nearer than the radial tables reach).
        """
        check_geometry(atoms)
        positions = np.asarray(atoms.positions, dtype=np.float64)
        cell, pbc = np.array(atoms.cell, dtype=np.float64), np.array(atoms.pbc, dtype=bool)
        numbers = np.asarray(atoms.numbers, dtype=np.int64)
        if not self._is_prepared_for(numbers):
            check_elements(atoms, self._extracted.atomic_numbers.tolist())
        structure = self._prepare(numbers, positions)
        ordered = np.ascontiguousarray(positions[structure.order])
        edges = self._measure(ordered, cell, pbc, structure)
        energies, forces, virial = self._run(structure, edges)
        scattered = np.empty_like(forces)
        scattered[structure.order] = forces
        by_atom = np.empty_like(energies)
        by_atom[structure.order] = energies
        periodic = stress and bool(pbc.all())
        for work in self._work:
            self.step_ticks += work.ticks
            work.ticks[:] = 0
        return Prediction(
            energy_ev=float(energies.sum()),
            forces=scattered,
            stress=0.5 * (virial + virial.T) / abs(np.linalg.det(cell)) if periodic else None,
            node_energies=by_atom,
        )

    @property
    def knots_a(self) -> NDArray[np.float64]:
        """Distances at which the radial tables pass to their next interval, Å."""
        return knots(self._extracted.cutoff_a, self._intervals)

    @property
    def n_edges(self) -> int:
        """Edges inside the cutoff at the last evaluation."""
        return 0 if self._edges is None else int(self._edges.count.sum())

    def multiply_adds(self) -> int:
        """Multiply-adds of the last evaluation (`counting.multiply_adds`)."""
        if self._structure is None:
            return 0
        return multiply_adds(self._structure.layers, len(self._structure.order), self.n_edges)

    def _is_prepared_for(self, numbers: NDArray[np.int64]) -> bool:
        return self._structure is not None and np.array_equal(numbers, self._structure.numbers)

    def _prepare(self, numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> Structure:
        """Tables and work space for these elements, made again only when they change."""
        if self._structure is not None and self._is_prepared_for(numbers):
            return self._structure
        extracted = self._extracted
        known = {int(z): i for i, z in enumerate(extracted.atomic_numbers)}
        present = sorted({known[int(z)] for z in numbers})
        element = np.array([present.index(known[int(z)]) for z in numbers], dtype=np.int64)
        order = order_of(element, positions, extracted.cutoff_a)
        element = element[order]
        layers = self._layers(tuple(present))
        indices = np.array(present, dtype=np.int64)[element]
        nodes, g_up = make_nodes(
            extracted, layers, np.array(present, dtype=np.int64), element, np.dtype(self.dtype), self.threads
        )
        self._structure = Structure(
            numbers=numbers.copy(),
            order=order,
            blocks=blocks_of(element),
            layers=layers,
            nodes=nodes,
            g_up=g_up,
            element=element,
            pairs=self._pairs(present),
            atomic_energies_ev=extracted.atomic_energies_ev[indices] + extracted.shift,
        )
        self._neighbours.forget()
        return self._structure

    def _pairs(self, present: list[int]) -> PairArrays:
        _, number = table_pairs(self._extracted.pairing, present)
        return pair_arrays(self._extracted.repulsion, np.array(present), number * (self._intervals + 1))

    def _layers(self, present: tuple[int, ...]) -> tuple[PackedLayer, ...]:
        if present not in self._layers_of:
            elements, dtype = np.array(present, dtype=np.int64), np.dtype(self.dtype)
            pairs, _ = table_pairs(self._extracted.pairing, present)
            self._layers_of[present] = tuple(
                pack(layer_arrays(self._extracted, i, elements, dtype, table))
                for i, table in enumerate(self._prepared.tables(pairs))
            )
        return self._layers_of[present]

    def _measure(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        structure: Structure,
    ) -> Edges:
        """Edges inside the cutoff at these positions."""
        extracted = self._extracted
        candidates = self._neighbours.update(positions, cell, pbc)
        if candidates is not self._candidates or self._edges is None:
            self._candidates = candidates
            self._edges = allocate(candidates.first)
            per_block = candidates.first[structure.blocks[:, 2]] - candidates.first[structure.blocks[:, 1]]
            self._shares = shares_of(per_block + 8.0, self.threads)
            self._work = [
                make_work(structure.layers, int(per_block.max()), extracted.max_ell, np.dtype(self.dtype))
                for _ in range(self.threads)
            ]
        edges = self._edges

        def measure(start: int, stop: int, _: int) -> int:
            first, end = structure.blocks[start, 1], structure.blocks[stop - 1, 2]
            near: int = measure_edges(
                edges, candidates.neighbour, candidates.shift, positions, cell, first, end,
                R_MIN_A, extracted.cutoff_a, self._intervals,
            )  # fmt: skip
            choose_tables(edges, structure.pairs, structure.element, first, end)
            return near

        for near in self._over(measure):
            if near >= 0:
                raise StructureError(
                    f"Atom {structure.order[near]} has a neighbour within {R_MIN_A} Å: the atoms overlap."
                )
        return edges

    def _run(
        self, structure: Structure, edges: Edges
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Energies, forces and virial in our order of atoms."""
        extracted, layers, nodes, g_up = self._extracted, structure.layers, structure.nodes, structure.g_up
        n_atoms, last = len(structure.order), len(layers) - 1
        energies = structure.atomic_energies_ev.copy()
        knots_per_s = self._intervals / (np.log1p(extracted.cutoff_a) - np.log1p(R_MIN_A))
        system = passes.System(
            edges, structure.blocks, extracted.max_ell, knots_per_s, extracted.scale, energies
        )
        forces = np.zeros((self.threads, n_atoms, 3))
        virials = np.zeros((self.threads, 3, 3))

        def forward(index: int, start: int, stop: int, thread: int) -> None:
            structure.entries.call(
                ("forward", index), passes.forward,
                layers[index], nodes[index], layers[index + 1], nodes[index + 1].up,
                system, start, stop, self._work[thread],
            )  # fmt: skip

        def turn(start: int, stop: int, thread: int) -> None:
            own = g_up[last][thread if last else 0]
            own[:] = 0.0
            structure.entries.call(
                "turn", passes.turn,
                layers[last], nodes[last], own, last > 0, system, start, stop,
                forces[thread], virials[thread], self._work[thread],
            )  # fmt: skip

        def reverse(index: int, start: int, stop: int, thread: int) -> None:
            own = g_up[index][thread if index else 0]
            own[:] = 0.0
            structure.entries.call(
                ("reverse", index), passes.reverse,
                layers[index], nodes[index], layers[index + 1], g_up[index + 1], own, index > 0, system,
                start, stop, forces[thread], virials[thread], self._work[thread],
            )  # fmt: skip

        def feel_repulsion(start: int, stop: int, thread: int) -> None:
            repel(
                edges, structure.pairs, structure.element, extracted.scale,
                structure.blocks[start, 1], structure.blocks[stop - 1, 2],
                energies, forces[thread], virials[thread],
            )  # fmt: skip

        if extracted.repulsion is not None:
            self._over(feel_repulsion)
        for index in range(last):
            self._over(partial(forward, index))
        self._over(turn)
        for index in reversed(range(last)):
            self._over(partial(reverse, index))
        return energies, forces.sum(axis=0), virials.sum(axis=0)

    def _over(self, work: Callable[[int, int, int], Any]) -> list[Any]:
        """Call `work(first block, end, thread)` on each thread's share of the blocks."""
        if self._team is None or len(self._shares) < 2:
            return [work(*share) for share in self._shares]
        return self._team.over(work, self._shares)
