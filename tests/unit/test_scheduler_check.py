from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.model.profile import ClusterProfile
from workbench.remote.local import LocalConnection
from workbench.scheduler_check import examine_scheduler, judge_quotas, judge_slurm, options, parse_answers
from workbench.schedulers.slurm.parse import Marks

MARKS = Marks("<r>", "<f>")
PROFILE = ClusterProfile(
    "csd3", connection="asyncssh", host="login", scheduler="slurm", account="A", partition="ampere", gpus=2
)
GOOD = {command: (0, "slurm-wlm 22.05.8") for command in ("sbatch", "squeue", "sacct")} | {
    "queue": (0, ""),
    "accounting": (0, ""),
    "accepted": (0, "sbatch: Job 1 to start at 2026-01-01T00:00:00"),
}


def bad(**changed: tuple[int, str]) -> dict[str, str]:
    findings = judge_slurm({**GOOD, **changed}, PROFILE)
    return {finding.subject: f"{finding.found} {finding.advice}" for finding in findings if not finding.good}


def test_a_slurm_that_takes_the_job_is_good() -> None:
    assert bad() == {}


def test_the_job_that_is_tried_is_the_profiles() -> None:
    assert options(PROFILE) == ["--account=A", "--partition=ampere", "--gres=gpu:2", "--ntasks=1", "--time=1"]
    assert options(ClusterProfile("local")) == []


def test_a_job_that_would_be_refused_says_why_and_what_to_change() -> None:
    found = bad(
        accepted=(1, "allocation failure: Invalid account or account/partition combination specified")
    )
    assert list(found) == ["a job"]
    assert "--account=A" in found["a job"]
    assert "change account, partition" in found["a job"]


def test_a_command_that_is_missing_is_said_once() -> None:
    found = bad(sbatch=(127, "timeout: failed to run command"), accepted=(127, ""))
    assert list(found) == ["sbatch"]
    assert found["sbatch"].startswith("missing add the folder of Slurm's commands to PATH")


def test_a_site_without_accounting_is_good() -> None:
    assert bad(sacct=(127, "")) == {}
    assert bad(accounting=(1, "sacct: error: Slurm accounting storage is disabled")) == {}


def test_a_slurm_that_does_not_answer_is_bad() -> None:
    assert list(bad(queue=(1, "slurm_load_jobs error: Unable to contact slurm controller"))) == ["queue"]


def test_quotas_are_shown_as_the_site_says_them_without_control_sequences() -> None:
    (finding,) = judge_quotas({"quota": (0, "Disk  quotas\x1b[2J\n  40  GB\x07")})
    assert (finding.subject, finding.found) == ("quota", "Disk quotas; 40 GB�")
    (finding,) = judge_quotas({"quota": (1, "broken")})
    assert finding.good
    assert "not known" in finding.found


async def test_a_host_without_slurm_is_asked_for_its_quota_alone() -> None:
    connection = LocalConnection()
    findings = await examine_scheduler(connection, ClusterProfile("local"), "/tmp")
    await connection.close()
    assert not {"sbatch", "squeue", "sacct", "a job"} & {finding.subject for finding in findings}
    assert all(finding.good for finding in findings)
    assert findings


@given(st.binary())
def test_no_answer_is_too_much(data: bytes) -> None:
    answers = parse_answers(b"<r>accepted<f>0<f>" + data, MARKS)
    assert {finding.subject for finding in judge_slurm(answers, PROFILE)} >= {"sbatch", "squeue", "sacct"}
    assert list(judge_quotas(answers))
