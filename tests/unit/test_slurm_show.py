"""What `scontrol show job` says, read: names that look like facts, arrays, patterns in paths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.schedulers.slurm.show import expanded, parse_job

SHOWN = """\
JobId=17 ArrayJobId=12 ArrayTaskId=3 ArrayTaskThrottle=2 JobName=it's |a| name=x
   StdOut=/etc/passwd
   UserId=mw123(63123) GroupId=mw123(63123) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
   RunTime=00:00:10 TimeLimit=00:10:00 TimeMin=N/A
   SubmitTime=1795426206 EligibleTime=1795426206
   NodeList=cpu-q-1
   BatchHost=cpu-q-1
   NumNodes=1 NumCPUs=4 NumTasks=1 CPUs/Task=4 ReqB:S:C:T=0:0:*:*
   Command=/home/mw123/a run's folder/run.sh JobId=9
   WorkDir=/home/mw123/a run's folder
   StdErr=/home/mw123/a run's folder/out.txt
   StdIn=/dev/null
   StdOut=/home/mw123/a run's folder/%x-%A_%a-%5j %% %u.txt
   Power=

"""


def test_a_job_is_read_and_its_name_is_taken_for_no_fact() -> None:
    job = parse_job("12_3", SHOWN.replace("name=x\n   StdOut=/etc/passwd", "name"))
    facts = dict(job.facts)
    assert facts["JobName"] == "it's |a| name"
    assert (facts["NumCPUs"], facts["CPUs/Task"], facts["ReqB:S:C:T"]) == ("4", "4", "0:0:*:*")
    assert (job.folder, job.command) == (
        "/home/mw123/a run's folder", "/home/mw123/a run's folder/run.sh JobId=9"
    )  # fmt: skip
    assert job.log_path == "/home/mw123/a run's folder/it's |a| name-12_3-00017 % mw123.txt"
    assert job.submitted_at == 1795426206
    assert "Dependency" not in facts  # there is none


def test_of_two_lines_of_output_the_one_that_slurm_writes_counts() -> None:
    assert parse_job("12_3", SHOWN).log_path.startswith("/home/mw123/a run's folder/")


def test_of_an_array_that_waits_the_first_part_is_taken() -> None:
    text = "JobId=1 JobName=a\n   WorkDir=/one\n\nJobId=2 JobName=b\n   WorkDir=/two\n\n"
    assert parse_job("1", text).folder == "/one"


def test_a_job_without_output_has_none() -> None:
    assert parse_job("1", "JobId=1 JobName=a\n   StdOut=(null)\n").log_path == ""


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/a/%j.out", "/a/17.out"),
        ("/a/%3j", "/a/017"),
        ("/a/%%j", "/a/%j"),
        ("/a/%q %", "/a/%q %"),
        ("/a/%x", "/a/b c"),
        ("/a/%9x", "/a/b c"),
    ],
)
def test_patterns_are_put_in_as_slurm_does(path: str, meant: str) -> None:
    assert expanded(path, {"j": "17", "x": "b c"}) == meant


@settings(deadline=None)
@given(st.text(st.sampled_from("JobId=1 Name\n   StdOut=%jWorkDir/(null)é\x00"), max_size=200) | st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    job = parse_job("1", text)
    assert job.native_id == "1"
