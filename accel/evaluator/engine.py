"""Energy, forces and stress of a model by compiled kernels, without autograd."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accel.data import check_elements, check_geometry
from accel.errors import PlanError, StructureError
from accel.evaluator import passes
from accel.evaluator.counting import multiply_adds
from accel.evaluator.geometry import Edges, allocate, measure_edges
from accel.evaluator.pairs import PairArrays, choose_tables, pair_arrays, repel
from accel.evaluator.prepared import PreparedModel
from accel.evaluator.radial import R_MIN_A, knots, table_pairs
from accel.evaluator.readout import read_out
from accel.evaluator.tables import LayerArrays, layer_arrays
from accel.neighbours import Candidates, NeighbourList
from accel.prediction import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from numpy.typing import NDArray

_RADIAL_TOLERANCE = {"float64": 5e-10, "float32": 3e-5}
"""Largest error of a tabulated derivative, as a fraction of the largest radial weight's slope."""


@dataclass(slots=True)
class _Structure:
    """What stays as long as the atoms' elements do."""

    numbers: NDArray[np.int64]
    order: NDArray[np.int64]
    """Our atom i is the caller's atom order[i]: atoms of one element stand in a row."""
    element: NDArray[np.int64]
    """[n_atoms], in our order: index among the elements present."""
    blocks: NDArray[np.int64]
    """[n_blocks, 3]: element, first atom, end."""
    layers: tuple[LayerArrays, ...]
    nodes: tuple[passes.Nodes, ...]
    embedding: NDArray[Any]
    """[n_atoms, 1, n_channels]."""
    atomic_energies_ev: NDArray[np.float64]
    """[n_atoms]."""
    pairs: PairArrays


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
        self._prepared = PreparedModel(model, head=head, radial_error=radial_error)
        self._extracted = self._prepared.extracted
        self._intervals = self._prepared.n_intervals
        self._neighbours = NeighbourList(self._extracted.cutoff_a, skin_a)
        self._structure: _Structure | None = None
        self._candidates: Candidates | None = None
        self._edges: Edges | None = None
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._layers_of: dict[tuple[int, ...], tuple[LayerArrays, ...]] = {}

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        """Energy, forces, per-atom energies and, where asked for and periodic, stress of `atoms`.

        Raises:
            StructureError: The model cannot take these atoms (an unknown element, NaN positions,
                two atoms nearer than the radial tables reach).
        """
        check_geometry(atoms)
        check_elements(atoms, self._extracted.atomic_numbers.tolist())
        positions = np.asarray(atoms.positions, dtype=np.float64)
        cell, pbc = np.array(atoms.cell, dtype=np.float64), np.array(atoms.pbc, dtype=bool)
        structure = self._prepare(np.asarray(atoms.numbers, dtype=np.int64), positions)
        ordered = np.ascontiguousarray(positions[structure.order])
        edges = self._measure(ordered, cell, pbc, structure)
        energies, forces, virial = self._run(structure, edges)
        scattered = np.empty_like(forces)
        scattered[structure.order] = forces
        by_atom = np.empty_like(energies)
        by_atom[structure.order] = energies
        periodic = stress and bool(pbc.all())
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

    def _prepare(self, numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> _Structure:
        """Tables and work space for these elements, made again only when they change."""
        if self._structure is not None and np.array_equal(numbers, self._structure.numbers):
            return self._structure
        extracted = self._extracted
        known = {int(z): i for i, z in enumerate(extracted.atomic_numbers)}
        present = sorted({known[int(z)] for z in numbers})
        element = np.array([present.index(known[int(z)]) for z in numbers], dtype=np.int64)
        # Within an element atoms that are near are numbered together: they share their neighbours.
        columns = np.floor(positions / extracted.cutoff_a)
        order = np.lexsort((positions[:, 2], columns[:, 1], columns[:, 0], element))
        element = element[order]
        layers = self._layers(tuple(present))
        indices = np.array(present, dtype=np.int64)[element]
        dtype = np.dtype(self.dtype)
        self._structure = _Structure(
            numbers=numbers.copy(),
            order=order,
            element=element,
            blocks=_blocks(element),
            layers=layers,
            nodes=_nodes(layers, len(numbers), extracted.n_channels, dtype),
            embedding=np.ascontiguousarray(extracted.embedding[indices][:, None], dtype=dtype),
            atomic_energies_ev=extracted.atomic_energies_ev[indices] + extracted.shift,
            pairs=self._pairs(present),
        )
        self._neighbours.forget()
        return self._structure

    def _pairs(self, present: list[int]) -> PairArrays:
        _, number = table_pairs(self._extracted.pairing, present)
        return pair_arrays(self._extracted.repulsion, np.array(present), number * (self._intervals + 1))

    def _layers(self, present: tuple[int, ...]) -> tuple[LayerArrays, ...]:
        if present not in self._layers_of:
            elements, dtype = np.array(present, dtype=np.int64), np.dtype(self.dtype)
            pairs, _ = table_pairs(self._extracted.pairing, present)
            self._layers_of[present] = tuple(
                layer_arrays(self._extracted, i, elements, dtype, table)
                for i, table in enumerate(self._prepared.tables(pairs))
            )
        return self._layers_of[present]

    def _measure(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        structure: _Structure,
    ) -> Edges:
        """Edges inside the cutoff at these positions."""
        extracted = self._extracted
        candidates = self._neighbours.update(positions, cell, pbc)
        if candidates is not self._candidates or self._edges is None:
            self._candidates = candidates
            self._edges = allocate(candidates.first, (extracted.max_ell + 1) ** 2, np.dtype(self.dtype))
        edges = self._edges

        def measure(start: int, stop: int, _: int) -> int:
            near: int = measure_edges(
                edges, candidates.neighbour, candidates.shift, positions, cell, start, stop,
                R_MIN_A, extracted.cutoff_a, self._intervals, extracted.max_ell,
            )  # fmt: skip
            choose_tables(edges, structure.pairs, structure.element, start, stop, 0)
            return near

        for near in self._over(measure, len(positions)):
            if near >= 0:
                raise StructureError(
                    f"Atom {structure.order[near]} has a neighbour within {R_MIN_A} Å: the atoms overlap."
                )
        return edges

    def _run(
        self, structure: _Structure, edges: Edges
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Energies, forces and virial in our order of atoms."""
        n_atoms = len(structure.order)
        energies = structure.atomic_energies_ev.copy()
        self._forward(structure, edges, energies)
        forces = np.zeros((self.threads, n_atoms, 3))
        virials = np.zeros((self.threads, 3, 3))
        self._reverse(structure, edges, forces, virials)
        if self._extracted.repulsion is not None:
            self._repel(structure, edges, energies, forces, virials)
        return energies, forces.sum(axis=0), virials.sum(axis=0)

    def _repel(
        self,
        structure: _Structure,
        edges: Edges,
        energies: NDArray[np.float64],
        forces: NDArray[np.float64],
        virials: NDArray[np.float64],
    ) -> None:
        def work(start: int, stop: int, thread: int) -> None:
            repel(
                edges, structure.pairs, structure.element, self._extracted.scale,
                start, stop, energies, forces[thread], virials[thread],
            )  # fmt: skip

        self._over(work, len(structure.order))

    def _forward(self, structure: _Structure, edges: Edges, energies: NDArray[np.float64]) -> None:
        blocks = structure.blocks
        before = structure.embedding
        for layer, nodes in zip(structure.layers, structure.nodes, strict=True):

            def up(
                start: int, stop: int, _: int, layer: Any = layer, nodes: Any = nodes, before: Any = before
            ) -> None:
                passes.send_up(layer, before, nodes.up, blocks, start, stop)

            def features(
                start: int, stop: int, _: int, layer: Any = layer, nodes: Any = nodes, before: Any = before
            ) -> None:
                passes.forward_layer(layer, edges, nodes, before, blocks, start, stop)
                nodes.g_features[blocks[start, 1] : blocks[stop - 1, 2]] = 0.0
                read_out(layer, nodes, self._extracted.scale, energies, blocks[start, 1], blocks[stop - 1, 2])

            self._over(up, len(blocks))
            self._over(features, len(blocks))
            before = nodes.features

    def _reverse(
        self, structure: _Structure, edges: Edges, forces: NDArray[np.float64], virials: NDArray[np.float64]
    ) -> None:
        blocks = structure.blocks
        knots_per_s = self._intervals / (np.log1p(self._extracted.cutoff_a) - np.log1p(R_MIN_A))
        for index in reversed(range(len(structure.layers))):
            self._turn_tables(structure, edges, index)
            layer, nodes = structure.layers[index], structure.nodes[index]
            g_before = structure.nodes[index - 1].g_features if index else np.zeros_like(structure.embedding)
            g_up = np.empty_like(nodes.up)

            def to_messages(
                start: int,
                stop: int,
                _: int,
                layer: Any = layer,
                nodes: Any = nodes,
                g_before: Any = g_before,
            ) -> None:
                passes.reverse_nodes(layer, nodes, g_before, blocks, start, stop)

            def to_edges(
                start: int, stop: int, thread: int, layer: Any = layer, nodes: Any = nodes,
                g_before: Any = g_before, g_up: Any = g_up, first: bool = index == 0,
            ) -> None:  # fmt: skip
                passes.reverse_edges(
                    layer, edges, nodes, g_up, knots_per_s, first, self._extracted.max_ell,
                    blocks[start, 1], blocks[stop - 1, 2], forces[thread], virials[thread],
                )  # fmt: skip
                if not first:
                    passes.receive_up(layer, g_up, g_before, blocks, start, stop)

            self._over(to_messages, len(blocks))
            self._over(to_edges, len(blocks))

    def _turn_tables(self, structure: _Structure, edges: Edges, index: int) -> None:
        """Before layer `index` is reversed: all layers but the first go by what the atoms send."""
        last = len(structure.layers) - 1
        if last == 0 or index not in (0, last) or self._extracted.pairing != "ordered":
            return

        def work(start: int, stop: int, _: int) -> None:
            choose_tables(edges, structure.pairs, structure.element, start, stop, 1 if index else -1)

        self._over(work, len(structure.order))

    def _over(self, work: Callable[[int, int, int], Any], n: int) -> list[Any]:
        """Call `work(start, stop, thread)` on shares of `n` pieces of work, one to a thread."""
        ends = [n * t // self.threads for t in range(self.threads + 1)]
        shares = [(a, b, t) for t, (a, b) in enumerate(pairwise(ends)) if b > a]
        if self._pool is None or len(shares) < 2:
            return [work(*share) for share in shares]
        return list(self._pool.map(lambda share: work(*share), shares))


def _blocks(element: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut atoms, sorted by element, into blocks of one element."""
    blocks: list[tuple[int, int, int]] = []
    for e in np.unique(element):
        (atoms,) = np.nonzero(element == e)
        blocks.extend(
            (e, a, min(a + passes.BLOCK, atoms[-1] + 1)) for a in range(atoms[0], atoms[-1] + 1, passes.BLOCK)
        )
    return np.array(blocks, dtype=np.int64).reshape(-1, 3)


def _nodes(
    layers: tuple[LayerArrays, ...], n_atoms: int, n_channels: int, dtype: Any
) -> tuple[passes.Nodes, ...]:
    """Work space of every layer."""
    nodes = []
    for layer in layers:
        n_out = int(layer.poly.term_out.max()) + 1
        edge_channels = layer.up.shape[2]
        shapes = (
            (n_atoms, layer.up.shape[0] ** 2, edge_channels),
            (n_atoms, len(layer.l_paths) ** 2, n_channels),
            (n_atoms, n_out, n_channels),
            (n_atoms, n_out, n_channels),
            (n_atoms, len(layer.conv.row_path), edge_channels),
        )
        nodes.append(passes.Nodes(*(np.zeros(shape, dtype=dtype) for shape in shapes)))
    return tuple(nodes)
