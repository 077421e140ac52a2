from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.data import load_structures, sized_system
from accel.errors import ModelError, PlanError
from accel.profile import ROOT, ProfileResult, Step, profile_model
from accel.reference import ReferenceEvaluator, load_model, to_graph
from accel.spans import observed
from accel.table import profile_notes, profile_table

ATOMS = sized_system(load_structures("shipped:liquid"), 12)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small", dtype="float32")


@pytest.fixture(scope="module")
def result(model: nn.Module) -> ProfileResult:
    return profile_model(model, ATOMS, repeats=1)


@pytest.fixture(scope="module")
def steps(result: ProfileResult) -> dict[str, Step]:
    return {step.path: step for step in result.steps}


def test_every_kind_of_step_is_there(steps: dict[str, Step]) -> None:
    expected = {
        ROOT: "ScaleShiftMACE",
        "spherical_harmonics": "SphericalHarmonics",
        "radial_embedding.bessel_fn": "BesselBasis",
        "interactions.0.conv_tp": "TensorProduct",
        "interactions.0.conv_tp_weights": "FullyConnectedNet",
        "interactions.1.linear_up": "Linear",
        "products.1.symmetric_contractions": "SymmetricContraction",
        "readouts.1.linear_2": "Linear",
        "scale_shift": "ScaleShiftBlock",
    }
    assert {path: steps[path].kind for path in expected} == expected


def test_shapes_are_those_of_atoms_and_edges(model: nn.Module, steps: dict[str, Step]) -> None:
    n_edges = to_graph(ATOMS, model)["edge_index"].shape[1]
    convolution = steps["interactions.0.conv_tp"]
    shapes = {tensor.name: tensor.shape for tensor in convolution.inputs}
    assert shapes == {"x": (n_edges, 32), "y": (n_edges, 16), "weight": (n_edges, 128)}
    assert [tensor.shape for tensor in convolution.outputs] == [(n_edges, 512)]
    assert convolution.irreps == "32x0e ⊗ 1x0e+1x1o+1x2e+1x3o → 32x0e+32x1o+32x2e+32x3o"


def test_the_precision_and_the_device_are_those_of_the_tensors(steps: dict[str, Step]) -> None:
    contraction = steps["products.0.symmetric_contractions"]
    assert {tensor.dtype for tensor in (*contraction.inputs, *contraction.outputs)} == {"float32"}
    assert {tensor.device for tensor in contraction.inputs} == {"cpu"}
    assert {tensor.contiguous for tensor in contraction.outputs} == {True}


def test_own_times_add_up_to_the_whole_in_both_directions(
    result: ProfileResult, steps: dict[str, Step]
) -> None:
    whole = steps[ROOT]
    assert sum(step.forward_self_ms for step in result.steps) == pytest.approx(whole.forward_ms)
    backward = [step.backward_self_ms for step in result.steps if step.backward_self_ms is not None]
    assert whole.backward_ms is not None
    assert sum(backward) == pytest.approx(whole.backward_ms)
    assert whole.forward_ms <= result.forward_ms
    assert whole.backward_ms <= result.backward_ms
    outside = result.forward_ms + result.backward_ms - whole.forward_ms - whole.backward_ms
    assert result.unaccounted == pytest.approx(outside / (result.forward_ms + result.backward_ms))


def test_gradients_are_described_as_the_tensors_are(model: nn.Module, steps: dict[str, Step]) -> None:
    n_edges = to_graph(ATOMS, model)["edge_index"].shape[1]
    convolution = steps["interactions.0.conv_tp"]
    assert [tensor.shape for tensor in convolution.gradients_in] == [(n_edges, 512)]
    # The first features depend on elements alone, so that no gradient goes to `x`.
    handed_on = {tensor.name: tensor.shape for tensor in convolution.gradients_out}
    assert handed_on == {"y": (n_edges, 16), "weight": (n_edges, 128)}
    assert {tensor.dtype for tensor in (*convolution.gradients_in, *convolution.gradients_out)} == {"float32"}
    assert steps["node_embedding"].gradients_in == steps["node_embedding"].gradients_out == ()


def test_where_no_gradient_goes_there_is_no_backward_time(steps: dict[str, Step]) -> None:
    assert steps["node_embedding"].backward_ms is None
    assert steps["interactions.0.linear_up"].backward_ms is None
    assert steps["interactions.1.linear_up"].backward_ms is not None


def test_a_module_used_in_several_places_is_one_step(steps: dict[str, Step]) -> None:
    assert steps["interactions.0.conv_tp_weights.layer0.act"].calls == 3
    assert "interactions.0.conv_tp_weights.layer1.act" not in steps


def test_profiling_leaves_the_model_as_it_was(model: nn.Module, result: ProfileResult) -> None:
    assert result.steps
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    forces = ReferenceEvaluator(model).evaluate(ATOMS).forces
    profile_model(model, ATOMS, repeats=1)
    assert abs(ReferenceEvaluator(model).evaluate(ATOMS).forces - forces).max() < 1e-6


def test_the_table_has_a_row_a_step_and_says_what_observing_costs(result: ProfileResult) -> None:
    table = profile_table(result)
    assert [str(row[0]).strip() for row in table.rows] == [step.path for step in result.steps]
    shares = [row[table.columns.index("share %")] for row in table.rows]
    assert sum(share for share in shares if isinstance(share, float)) == pytest.approx(100)
    assert "Hooks add" in profile_notes(result)[-1]
    assert len(table.text().splitlines()) == len(table.rows) + 1


def test_progress_is_told(model: nn.Module) -> None:
    told: list[tuple[int, int]] = []
    profile_model(model, ATOMS, repeats=2, advance=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_nothing_to_repeat_is_refused(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="at least one evaluation, not 0"):
        profile_model(model, ATOMS, repeats=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused_with_the_way_out() -> None:
    traced = torch.jit.trace(nn.Linear(1, 1), torch.zeros(1))  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"profile the \.model that it was made of"):
        profile_model(traced, ATOMS)


# -- the way back, on models whose order of things can be written down -----------------------------


class Logged(torch.autograd.Function):
    """Says when its gradient is computed."""

    @staticmethod
    def forward(ctx: Any, log: list[str], name: str, x: Tensor) -> Tensor:
        ctx.log, ctx.name = log, name
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.log.append(ctx.name)
        return None, None, gradient


class Part(nn.Module):
    def __init__(self, log: list[str], name: str) -> None:
        super().__init__()
        self.log, self.name = log, name

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = Logged.apply(self.log, self.name, x)  # type: ignore[no-untyped-call]
        return x if y is None else x + Logged.apply(self.log, self.name, y)  # type: ignore[no-untyped-call]


class Branching(nn.Module):
    """a → b → d, and a → c → d: a skip connection, as MACE's interactions have."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.a, self.b, self.c, self.d = (Part(self.log, name) for name in "abcd")

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.a(x)
        skipped = self.c(first)
        joined: Tensor = self.d(self.b(first), y=skipped)
        return joined.sum()


class MarksIn(list[Any]):
    """Writes marks into the same log as what the parts do."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def append(self, mark: Any) -> None:
        path, begins, _ = mark
        self.log.append(f"{'begin' if begins else 'end'} {path}")


def test_the_backward_pass_of_a_step_lies_between_its_marks() -> None:
    model = Branching()
    x = torch.ones(3, requires_grad=True)
    with observed(model) as spans:
        spans.backward = MarksIn(model.log)
        torch.autograd.grad(model(x), x)
    assert model.log == [
        "begin ",
        "begin d", "d", "d", "end d",
        "begin b", "b", "end b",
        "begin c", "c", "end c",
        "begin a", "a", "end a",
        "end ",
    ]  # fmt: skip


def test_forward_marks_nest_and_are_counted() -> None:
    model = Branching()
    with observed(model) as spans:
        model(torch.ones(3, requires_grad=True))
        model(torch.ones(3))
    forward, backward = spans.spent()
    assert {path: spent.calls for path, spent in forward.items()} == dict.fromkeys(["", *"acbd"], 2)
    assert forward[""].total == pytest.approx(sum(spent.own for spent in forward.values()))
    assert backward == {}


def test_a_tensor_that_is_not_contiguous_is_said_to_be_so() -> None:
    part = Branching().a
    with observed(part, layouts=True) as spans:
        part(torch.zeros(4, 3).T)
    (layout,) = spans.layouts[""].inputs
    assert (layout.name, layout.shape, layout.strides, layout.contiguous) == ("x", (3, 4), (1, 3), False)


def test_a_gradient_that_is_one_number_many_times_is_said_to_be_so() -> None:
    model = Branching()
    x = torch.ones(3, requires_grad=True)
    with observed(model, layouts=True) as spans:
        torch.autograd.grad(model(x), x)
    (arrived,) = spans.layouts["d"].gradients_in
    assert (arrived.shape, arrived.strides, arrived.contiguous) == ((3,), (0,), False)
    assert [tensor.name for tensor in spans.layouts["d"].gradients_out] == ["x", "y"]


def test_steps_that_do_not_nest_are_refused() -> None:
    with observed(Branching()) as spans:
        spans.mark(spans.backward, "a", True)
        spans.mark(spans.backward, "b", False)
    with pytest.raises(PlanError, match="one within the other"):
        spans.spent()
