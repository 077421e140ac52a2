"""Whole screens, as pictures: each was looked at before it was accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.tui.moment import NOW
from tests.tui.opened import LARGE, SMALL, Hand, RememberingApp, press, settled, still, until_drawn, until_on
from tests.tui.recorded import RecordedWorkbench, benchmark, failed, finished, job
from tests.tui.recorded_queues import busy_cluster
from tests.tui.recorded_sessions import view
from tests.tui.recorded_sweeps import swept
from tests.waiting import until
from workbench.model.job import JobState
from workbench.model.session import Kernel, SessionKind

Scene = tuple[RecordedWorkbench, str | None, Sequence[str]]


def empty() -> Scene:
    return RecordedWorkbench(), None, ()


def many_jobs() -> Scene:
    workbench = RecordedWorkbench()
    workbench.add(job("q8r4zz", JobState.COMPLETED, name="demo", age_s=4000), finished(benchmark(80)))
    workbench.add(job("p2x9aa", JobState.PENDING, name="compile", age_s=300, reason="Resources"))
    for index, state in enumerate(JobState):
        name = f"seed {index}, größer" if index % 2 else f"水 {index}"
        workbench.add(job(f"x{index:02d}c4v", state, name=name, age_s=9000 + 40 * index, ran_s=300.0 * index))
    for index in range(500):
        workbench.add(job(f"j{index:05d}", JobState.COMPLETED, name="sweep", age_s=90_000 + index))
    return workbench, None, ("j", "j")


def running() -> Scene:
    workbench = RecordedWorkbench()
    workbench.add(job("k3m7fp", name="fp32 on the liquid"), benchmark(55), every_s=0.13)
    workbench.logs["k3m7fp"] = b"".join(b"timing liquid-192, round %d\n" % index for index in range(15))
    return workbench, "k3m7fp", ()


def errors() -> Scene:
    workbench, open_job, _ = running()
    return workbench, open_job, ("2",)


def results() -> Scene:
    workbench = RecordedWorkbench()
    workbench.add(job("q8r4zz", JobState.COMPLETED, name="demo", age_s=4000), finished(benchmark(80)))
    workbench.logs["q8r4zz"] = b"done in 65 s\n"
    return workbench, "q8r4zz", ("3",)


def failure() -> Scene:
    workbench = RecordedWorkbench()
    sentence = "The model my.model lacks the element Si; it knows H, C, O. Take another model."
    workbench.add(job("f5t6uu", JobState.FAILED, name="my model", age_s=9000, ran_s=2.0), failed(sentence))
    workbench.logs["f5t6uu"] = b"reading my.model\nreading shipped:liquid\n"
    return workbench, "f5t6uu", ()


def sessions() -> Scene:
    workbench = RecordedWorkbench(("csd3",))
    busy = Kernel("k1", "python3", busy=True, connections=1, last_activity="")
    workbench.desk.views = [
        view("ab23", NOW, left_s=7000.0, kernels=(busy, replace(busy, id="k2", name="mace", busy=False))),
        view("cd45", NOW, kind=SessionKind.SHELL, node="cpu-q-3", renews=True),
        view("ef67", NOW, state=JobState.PENDING, reason="QOSMaxJobsPerUserLimit"),
        view("gh89", NOW, state=JobState.TIMEOUT),
    ]
    return workbench, None, ("S",)


def help_screen() -> Scene:
    workbench, _, _ = many_jobs()
    return workbench, None, ("question_mark",)


def submit() -> Scene:
    return RecordedWorkbench(), None, ("n",)


def queue() -> Scene:
    return busy_cluster(), None, ("Q", "j")


def queued() -> Scene:
    return busy_cluster(), None, ("Q", "enter")


def sweep() -> Scene:
    return swept()[0], None, ("enter",)


def sweep_chart() -> Scene:
    return swept()[0], None, ("enter", "2")


SCENES = (
    empty, many_jobs, running, errors, results, failure, help_screen, submit, sessions, queue, queued,
    sweep, sweep_chart,
)  # fmt: skip


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x50"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_screen_looks_as_it_did(
    scene: Callable[[], Scene], size: tuple[int, int], snap_compare: Callable[..., bool]
) -> None:
    workbench, open_job, keys = scene()

    async def told() -> bool:
        return open_job is None or workbench.is_told(open_job)

    async def all_told() -> bool:
        return all(workbench.is_told(job.id) for job in workbench.known.values())

    async def before(hand: Hand) -> None:
        await settled(hand)
        if open_job is not None:
            await until_on(hand, "RunScreen")
            await until(told)
        await still(hand)
        await press(hand, *keys)
        if scene is queued:
            await until_drawn(hand, "epoch 29")
        if scene in (sweep, sweep_chart):
            await until(all_told)
        await still(hand)

    assert snap_compare(RememberingApp(workbench, open_job), terminal_size=size, run_before=before)
