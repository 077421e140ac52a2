"""torch.compile on a mace-torch model, done in the one way that gives right forces.

A model that exists cannot simply be compiled: a copy of it gives a right energy and wrong forces,
silently. It has to be built anew without e3nn's own code generation (`mace.tools.compile.prepare`), and
its weights loaded into it. Shapes are dynamic, so that a moving edge count does not compile again; the
first call takes up to minutes, and a much smaller system may cost one more compilation.

With CUDA graphs a whole evaluation is recorded and replayed as one launch, which pays where a GPU waits for
Python. A record holds for one shape only: graphs are filled up to a few fixed sizes (`padding`), each
is compiled and recorded once, and going beyond what torch compiles is an error and no slower way.

On the CPU what comes out of torch 2.13 dies of a segmentation fault when it runs on more than one thread,
and takes the process and its measurements along. So that is refused unless a plan asks for it.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from ase import Atoms

from accel.errors import MissingBackend, PlanError
from accel.mace_torch import build_model, default_dtype, model_config
from accel.model_files import torch_device
from accel.prediction import Prediction
from accel.reference import to_graph
from accel.vendors.padding import padded

_COMPILERS = ("g++", "clang++", "c++", "cl")
_OLD_BUFFERS = "_zeroed"
"""Buffers by this ending came with mace-torch 0.3.14; they are made when a model is built, not trained."""


def compiled_evaluator(
    model: torch.nn.Module,
    *,
    dtype: str,
    device: str,
    head: str | None = None,
    backend: str = "inductor",
    many_threads: bool = False,
    cuda_graphs: bool = False,
) -> CompiledMace:
    """The model, rebuilt in `dtype` on `device` and handed to torch.compile.

    Raises:
        MissingBackend: There is no C++ compiler, no such device, or CUDA graphs were asked of a device
            that has none.
        PlanError: There is no such backend, the model cannot be rebuilt, or there are several threads and
            `many_threads` is not set.
    """
    if backend not in torch.compiler.list_backends(None):
        known = ", ".join(torch.compiler.list_backends(None))
        raise PlanError(f"torch.compile has no backend {backend!r}; there are: {known}.")
    target = torch_device(device)
    if cuda_graphs and target.type != "cuda":
        raise MissingBackend(
            f"CUDA graphs need an NVIDIA GPU, and {device} is none: run this on one (--device cuda), or take "
            "the plan compile."
        )
    n_threads = torch.get_num_threads()
    if target.type == "cpu" and backend == "inductor" and n_threads > 1 and not many_threads:
        raise PlanError(
            f"torch.compile crashes on the CPU with {n_threads} threads (seen with torch 2.13): "
            'take 1 thread, or a plan with the option "many_threads": true where your torch can do it.'
        )
    if target.type == "cpu" and backend == "inductor" and _compiler() is None:
        raise MissingBackend(
            "torch.compile needs a C++ compiler on the CPU and finds none: install g++ or clang++, load the "
            "cluster's compiler module, or name one in CXX."
        )
    # e3nn's and dynamo's settings are changed when this is imported: not before it is wanted.
    from mace.tools.compile import prepare

    rebuilt: torch.nn.Module = prepare(lambda: _rebuilt(model, getattr(torch, dtype)))()
    rebuilt = rebuilt.to(target).requires_grad_(False).eval()
    return CompiledMace(
        rebuilt,
        getattr(torch, dtype),
        backend,
        head,
        fixed_shapes=cuda_graphs,
        mode="reduce-overhead" if cuda_graphs and backend == "inductor" else None,
    )


class CompiledMace:
    """A compiled model: an `Evaluator`. It compiles when it is first called."""

    def __init__(
        self,
        model: torch.nn.Module,
        dtype: torch.dtype,
        backend: str,
        head: str | None = None,
        *,
        fixed_shapes: bool = False,
        mode: str | None = None,
    ) -> None:
        self._model = model
        self._head = head
        self._dtype = dtype
        self._fixed_shapes = fixed_shapes
        self._compiled: Any = torch.compile(
            model, dynamic=not fixed_shapes, fullgraph=fixed_shapes, backend=backend, mode=mode
        )

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        """Energy, forces, node energies and, for a structure periodic in all directions, stress.

        Raises:
            StructureError: The model cannot take these atoms.
            PlanError: torch cannot compile the model here.
        """
        stress = stress and bool(atoms.pbc.all())
        graph = to_graph(atoms, self._model, head=self._head)
        if self._fixed_shapes:
            part: Any = self._model
            graph = padded(graph, float(part.r_max))
        # Inside a compiled graph nothing can be told to need a gradient any more.
        for name in ("positions", "node_attrs"):
            graph[name].requires_grad_(True)
        try:
            with default_dtype(self._dtype):
                output = self._compiled(graph, training=True, compute_stress=stress)
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise PlanError(f"torch.compile failed on this model ({reason})") from error
        return Prediction(
            energy_ev=output["energy"].detach()[0].item(),
            forces=_fp64(output["forces"][: len(atoms)]),
            stress=_fp64(output["stress"][0]) if stress else None,
            node_energies=_fp64(output["node_energy"][: len(atoms)]),
        )


def _rebuilt(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    try:
        rebuilt = build_model(model_config(model), dtype)
    except ValueError as error:
        raise PlanError(f"The model cannot be built anew for torch.compile: {error}.") from error
    missing, unexpected = rebuilt.load_state_dict(model.state_dict(), strict=False)
    strange = [name for name in (*missing, *unexpected) if not name.endswith(_OLD_BUFFERS)]
    if strange:
        raise PlanError(f"The model cannot be built anew for torch.compile: {strange[0]} does not fit.")
    return rebuilt


def _compiler() -> str | None:
    named = os.environ.get("CXX")
    return next((found for name in ([named] if named else _COMPILERS) if (found := shutil.which(name))), None)


def _fp64(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().to(torch.float64).numpy()
