"""The batch script: as the golden files have it, and a script that a shell understands.

After a change that is meant, `python -m tests.unit.test_slurm_render` writes the golden files again; read
what has changed before it is kept.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec import RunSpec
from workbench.errors import SchedulerError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.schedulers.slurm.render import SlurmSettings, render

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Job(
    id="abc234",
    profile="cluster",
    folder="/rds/user/mw123/hpc-work/mace-workbench/runs/abc234",
    spec=JobSpec(RunSpec(name="a run"), Resources(time_limit_s=1800)),
    status=JobStatus(JobState.SUBMITTING),
    created_at=0.0,
)
ARGV = ["/opt/mace/bin/python", "-m", "jobs.benchmark", f"{PLAIN.folder}/spec.json"]
ENV = {"PYTHONPATH": "/rds/user/mw123/hpc-work/mace-workbench/code/0123456789abcdef", "OMP_NUM_THREADS": "1"}
CASES = {
    "slurm-plain.sbatch": render(PLAIN, ARGV, ENV, SlurmSettings()),
    "slurm-csd3-gpu.sbatch": render(
        replace(
            PLAIN,
            folder="/rds/it's a folder/abc234",
            spec=JobSpec(
                RunSpec(threads=8),
                Resources(time_limit_s=43199, memory_mb=64000, gpus=2, qos="INTR", dependency="afterok:12"),
            ),
        ),
        ARGV,
        {**ENV, "NOTE": "two\nlines, 'quotes' and $HOME"},
        SlurmSettings(
            account="MACE-SL3-GPU",
            partition="ampere",
            gpus=1,
            time_limit_minutes=720,
            setup=(". /etc/profile.d/modules.sh", "module purge", "module load rhel8/default-amp"),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_script_is_as_it_was(name: str) -> None:
    assert CASES[name] == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", CASES)
def test_no_placeholder_is_left(name: str) -> None:
    lines = CASES[name].splitlines()
    assert not [line for line in lines if line.startswith("@") or line.endswith("@")]


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.mark.parametrize("name", ["then", "until", "A=b", "a b", "it's=so"])
def test_the_first_word_is_a_program_whatever_it_is_called(name: str) -> None:
    script = render(PLAIN, [name], {}, SlurmSettings())
    (line,) = [line for line in script.splitlines() if line.endswith(" &")]
    said = subprocess.run(
        ["bash", "-c", f"{line.removesuffix(' &')}"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 127
    assert f"{name}: command not found" in said.stderr


@settings(deadline=None)
@given(
    folder=_TEXT,
    words=st.lists(_TEXT, min_size=1),
    value=_TEXT,
    setup=st.sampled_from(["module load 'a b'", 'export A="it\'s"', "true"]),
)
def test_whatever_is_put_in_the_script_is_a_script(
    folder: str, words: list[str], value: str, setup: str
) -> None:
    script = render(replace(PLAIN, folder=folder), words, {"X": value}, SlurmSettings(setup=(setup,)))
    done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@settings(deadline=None)
@given(value=_TEXT.filter(lambda text: "\r" not in text))
def test_a_value_cannot_become_a_directive(value: str) -> None:
    script = render(PLAIN, [value], {"X": value}, SlurmSettings())
    # sbatch stops looking for its directives at the first command.
    directives = script[: script.index("\nfolder=")]
    assert directives == CASES["slurm-plain.sbatch"][: len(directives)]


@pytest.mark.parametrize(
    ("resources", "settings", "message"),
    [
        (Resources(account="a\n#SBATCH --uid=0"), SlurmSettings(), "cannot be asked for the account"),
        (Resources(), SlurmSettings(partition="two words"), "cannot be asked for the partition"),
        (Resources(qos="--x"), SlurmSettings(), "cannot be asked for the qos"),
        (
            Resources(time_limit_s=3601),
            SlurmSettings(time_limit_minutes=60),
            "61 min is more than the 60 min",
        ),
    ],
)
def test_what_slurm_cannot_be_asked_is_said(
    resources: Resources, settings: SlurmSettings, message: str
) -> None:
    with pytest.raises(SchedulerError, match=message):
        render(replace(PLAIN, spec=JobSpec(RunSpec(), resources)), ARGV, ENV, settings)


def test_a_nul_and_a_variable_without_a_name_are_said() -> None:
    with pytest.raises(SchedulerError, match="The command holds a NUL"):
        render(PLAIN, ["a\0b"], ENV, SlurmSettings())
    with pytest.raises(SchedulerError, match=r"'A B'.*cannot be the name of a variable"):
        render(PLAIN, ARGV, {"A B": "x"}, SlurmSettings())


@pytest.mark.parametrize(("seconds", "minutes"), [(0.1, 1), (59, 1), (60, 1), (61, 2), (3600, 60)])
def test_the_time_limit_is_never_zero_which_would_be_none(seconds: float, minutes: int) -> None:
    job = replace(PLAIN, spec=JobSpec(RunSpec(), Resources(time_limit_s=seconds)))  # type: ignore[arg-type]
    assert f"#SBATCH --time={minutes}\n" in render(job, ARGV, ENV, SlurmSettings())


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for _name, _script in CASES.items():
        (GOLDEN / _name).write_text(_script)
