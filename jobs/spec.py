"""RunSpec: what one run is asked to do, as JSON that a person can write by hand.

    {"v": 1, "experiment": "benchmark", "name": "…", "model": "…", "parameters": {…}}

The local side writes it, the entry points read it, and it stays in the run's folder as the record of
what was asked. Decoding is strict, unlike that of events: a key that is not known is most likely a
typing mistake, and a version that is newer may mean something else by the same words.
"""

from __future__ import annotations

import json
import types
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

SPEC_VERSION = 1

_T = TypeVar("_T")


class SpecError(ValueError):
    """A spec cannot be understood; says which part, and what would be."""


@dataclass(frozen=True, slots=True)
class BenchmarkParameters:
    """Time and error of several plans on structures of several sizes."""

    EXPERIMENT: ClassVar[str] = "benchmark"
    plans: tuple[str, ...] = ("reference", "reference-fp32")
    """Plans by name; each is compared with the first that is named `reference`, or with it added."""
    sizes: tuple[int, ...] = (15, 96, 192)
    """Atoms of the systems that are timed; the nearest that can be built are taken."""
    structures: str = "shipped:liquid"
    """What those systems are built from: a shipped set, or a file that ASE reads."""
    labelled: str = "shipped:test"
    """Structures with labels, on which the error is measured; empty for none."""
    n_labelled: int = 40
    """How many of them; 0 for all."""
    repeats: int = 20
    """Timed evaluations of each plan on each system."""
    stress: bool = False
    """Whether stress is computed with energy and forces."""


@dataclass(frozen=True, slots=True)
class ProfileParameters:
    """Time, tensor shape, dtype, layout and device of every step of a model, forward and backward."""

    EXPERIMENT: ClassVar[str] = "profile"
    dtype: str = "float64"
    n_atoms: int = 96
    structures: str = "shipped:liquid"
    repeats: int = 10


@dataclass(frozen=True, slots=True)
class TuneParameters:
    """The fastest plan inside an error budget, for one model, these sizes and this machine."""

    EXPERIMENT: ClassVar[str] = "tune"
    energy_mev_per_atom: float = 0.01
    """How far energies may be from mace-torch in fp64: root mean square over structures."""
    force_rmse_mev_per_a: float = 0.1
    force_max_mev_per_a: float = 1.0
    stress_rmse_mev_per_a3: float = 0.1
    """Judged only with `stress`."""
    plans: tuple[str, ...] = ()
    """Which to choose from, by name or file; empty for every plan and its variants."""
    skip: tuple[str, ...] = ()
    """Techniques to leave out: `compile` takes minutes for every plan."""
    sizes: tuple[int, ...] = (18, 96, 192)
    """Atoms of the systems that are timed; the nearest that can be built are taken."""
    structures: str = "shipped:liquid"
    labelled: str = "shipped:test"
    """Structures on which the error is measured besides; empty for none."""
    n_labelled: int = 40
    repeats: int = 20
    stress: bool = False
    memory: bool = True
    """Whether each plan's peak memory is measured, in a process of its own."""


@dataclass(frozen=True, slots=True)
class MdParameters:
    """Dynamics or a minimisation from one structure; or the energy drift of several plans."""

    EXPERIMENT: ClassVar[str] = "md"
    plans: tuple[str, ...] = ("exact",)
    """One that computes the forces; with `drift_starts`, those that are compared with the reference."""
    structures: str = "shipped:liquid"
    n_atoms: int = 0
    """Atoms of the system made from those structures; 0 for the first as it is."""
    ensemble: str = "nve"
    """`nve`, `langevin`, `nose-hoover`, `npt`; or a minimisation, `fire` or `lbfgs`."""
    n_steps: int = 1000
    time_step_fs: float = 0.5
    temperature_k: float = 300.0
    pressure_bar: float = 1.0
    damping_fs: float = 100.0
    """Of the thermostat: the inverse of Langevin's friction, the period of a Nosé–Hoover chain."""
    pressure_damping_fs: float = 1000.0
    force_tolerance_ev_per_a: float = 0.01
    """Largest force on an atom at which a minimisation ends."""
    frame_every: int = 100
    """Steps between two frames, each of them a checkpoint."""
    check_every: int = 0
    """Steps between two comparisons with mace-torch in fp64; 0 for none."""
    drift_starts: int = 0
    """Draws of velocities from which the NVE drift of all plans is compared; 0 for one trajectory instead."""


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """An interactive session: a shell that can be attached to, and a Jupyter server if asked for."""

    EXPERIMENT: ClassVar[str] = "session"
    page: str = "lab"
    """Where the browser begins: `lab`, or `tree` for Jupyter Notebook; empty for no Jupyter."""
    work_folder: str = ""
    """Where shell and notebooks begin; empty for the home folder."""
    private_folder: str = ""
    """Of the session through all of its jobs; holds Jupyter's `token`."""
    reach: str = "127.0.0.1"
    """What Jupyter listens on: this address, or `hostname` for the node's own name."""


Parameters: TypeAlias = (
    BenchmarkParameters | ProfileParameters | TuneParameters | MdParameters | SessionParameters
)
EXPERIMENTS: Mapping[str, type[Parameters]] = MappingProxyType(
    {
        kind.EXPERIMENT: kind
        for kind in (
            BenchmarkParameters,
            ProfileParameters,
            TuneParameters,
            MdParameters,
            SessionParameters,
        )
    }
)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What one run is asked to do."""

    parameters: Parameters = field(default_factory=BenchmarkParameters)
    name: str = ""
    """For people; need not be unique."""
    model: str = "h2co-small"
    """A shipped model, a folder with weights, or a `.model` file."""
    allow_pickle: bool = False
    """Whether `model` may be a pickle, which can run any code when it is opened."""
    device: str = "cpu"
    threads: int = 1
    seed: int = 0

    @property
    def experiment(self) -> str:
        """The entry point that runs this: `python -m jobs.EXPERIMENT`."""
        return self.parameters.EXPERIMENT

    @property
    def goes_on(self) -> bool:
        """Whether a further attempt in the same folder goes on from where the last one has got to."""
        return isinstance(self.parameters, MdParameters) and not self.parameters.drift_starts

    def to_json(self) -> str:
        """This spec as indented JSON, one key a line."""
        record = {"v": SPEC_VERSION, "experiment": self.experiment, **asdict(self)}
        return json.dumps(record, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RunSpec:
        """The spec in `text`.

        Raises:
            SpecError: It is no JSON, of a newer version, or a key or value is wrong.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"The spec is not valid JSON: {error}.") from error
        if not isinstance(record, dict):
            raise SpecError('The spec is not a JSON object: it should look like {"v": 1, "experiment": …}.')
        version, experiment = record.pop("v", SPEC_VERSION), record.pop("experiment", "benchmark")
        if type(version) is not int or version < 1:
            raise SpecError(f"The spec's version is {version!r}; it should be {SPEC_VERSION}.")
        if version > SPEC_VERSION:
            raise SpecError(
                f"The spec is of version {version} and this program knows up to {SPEC_VERSION}: "
                "update mace-workbench where the run is started."
            )
        if not isinstance(experiment, str) or experiment not in EXPERIMENTS:
            known = ", ".join(sorted(EXPERIMENTS))
            raise SpecError(f"The spec asks for the experiment {experiment!r}; there are: {known}.")
        parameters = _build(EXPERIMENTS[experiment], record.pop("parameters", {}), "parameters.")
        spec = _build(cls, {**record, "parameters": parameters}, "")
        for name, value, least in (("threads", spec.threads, 1), ("seed", spec.seed, 0)):
            if value < least:
                raise SpecError(f"The spec's {name} should be {least} or more, not {value}.")
        return spec


def _build(kind: type[_T], record: Any, prefix: str) -> _T:
    if not isinstance(record, Mapping):
        raise SpecError(f"The spec's {prefix.rstrip('.') or 'content'} should be a JSON object.")
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    for key in record:
        if key not in names:
            raise SpecError(f"The spec has no key {prefix}{key}; there are: {', '.join(names)}.")
    return kind(**{key: _checked(value, hints[key], prefix + key) for key, value in record.items()})


@cache
def _hints(kind: Hashable) -> Mapping[str, Any]:
    """The types of a dataclass's fields; read anew for each of ten thousand specs they would take seconds."""
    return get_type_hints(kind)


def _checked(value: Any, hint: Any, key: str) -> Any:
    """`value` as `hint` wants it: lists become tuples, whole numbers pass as floats."""
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"The spec's {key} should be a list, not {value!r}.")
        return tuple(_checked(item, get_args(hint)[0], key) for item in value)
    if isinstance(hint, types.UnionType):
        if is_dataclass(value) or (value is None and type(None) in get_args(hint)):
            return value
        hint = next(option for option in get_args(hint) if option is not type(None))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise SpecError(f"The spec's {key} should be of type {hint.__name__}, not {value!r}.")
    return value
