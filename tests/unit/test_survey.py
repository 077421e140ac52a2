from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.survey import (
    Association,
    Folder,
    Interpreter,
    Partition,
    Qos,
    parse_associations,
    parse_conda,
    parse_gpus,
    parse_minutes,
    parse_modules,
    parse_partitions,
    parse_python,
    parse_qos,
    parse_survey,
)

PARTITIONS = """\
PartitionName=icelake AllowAccounts=ALL AllowQos=ALL Default=YES MaxTime=7-00:00:00 State=UP TotalNodes=2
PartitionName=ampere AllowAccounts=A,B AllowQos=q1 Default=NO MaxTime=UNLIMITED State=UP TotalNodes=1
PartitionName=old AllowAccounts=ALL Default=NO MaxTime=1:00:00 State=DOWN TotalNodes=1
PartitionName=theirs AllowAccounts=ALL Default=NO RootOnly=YES MaxTime=1:00:00 State=UP TotalNodes=1
"""
NODES = "icelake|56|1000|(null)|1\nicelake|76|257000|(null)|2\nampere|128|1010000|gpu:a100:4(S:0-3)|1\n"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("7-00:00:00", 10080), ("12:00:00", 720), ("1-12", 2160), ("30", 30), ("30:00", 30),
        ("1-02:03", 1563),
        ("UNLIMITED", None), ("", None), ("later", None), ("0", None), ("-5", None), ("٣", None),
    ],
)  # fmt: skip
def test_a_duration_is_whole_minutes(text: str, minutes: int | None) -> None:
    assert parse_minutes(text) == minutes


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_any_duration_that_slurm_writes_is_understood(
    days: int, hours: int, minutes: int, seconds: int
) -> None:
    text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    assert parse_minutes(text) == (1440 * days + 60 * hours + minutes or None)


def test_associations_and_qos_are_rows() -> None:
    assert list(parse_associations("a|p|q1,q2|q1|1:00:00\nb||||\ngarbage\n|x|||\n")) == [
        Association("a", "p", ["q1", "q2"], "q1", 60),
        Association("b", "", [], "", None),
    ]
    assert list(parse_qos("normal|12:00:00||\nintr|01:00:00|1|2\n")) == [
        Qos("normal", 720, None, None),
        Qos("intr", 60, 1, 2),
    ]


def test_partitions_that_take_jobs_have_the_shape_of_their_nodes() -> None:
    assert list(parse_partitions(PARTITIONS, NODES)) == [
        Partition("icelake", True, 10080, [], [], 2, 76, ""),
        Partition("ampere", False, None, ["A", "B"], ["q1"], 1, 128, "a100:4"),
    ]


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [("gpu:a100:4(S:0-3),tmp:9G", "a100:4"), ("tmp:9G,gpu:2", "2"), ("gpu", "1"), ("(null)", ""), ("", "")],
)
def test_gpus_are_found_among_the_resources(gres: str, gpus: str) -> None:
    assert parse_gpus(gres) == gpus


def test_modules_of_interest_are_kept_and_what_could_run_is_not() -> None:
    said = "/modules:\npython/3.11(default)\nrhel8/default-amp\ngromacs/1\ncuda/;rm\npython/$(id)\n"
    assert list(parse_modules(said)) == ["python/3.11", "rhel8/default-amp"]


def test_environments_of_conda_are_folders() -> None:
    assert parse_conda('{"envs": ["/opt/conda", 3, "relative"]}') == ["/opt/conda"]
    assert parse_conda("CondaError: no") == []


def test_a_python_is_what_says_its_version() -> None:
    assert list(parse_python("/a/python", "3.11.2\n2.4.0\n0.3.13")) == [
        Interpreter("/a/python", (3, 11, 2), "2.4.0", "0.3.13")
    ]
    assert list(parse_python("/a/python", "3.6.8")) == [Interpreter("/a/python", (3, 6, 8), "", "")]
    assert list(parse_python("/a/python", "Segmentation fault")) == []


def test_a_survey_is_cut_at_its_separators_alone() -> None:
    data = (
        b"Welcome! Quota: 39.9 of 40 GB\n<r>slurm<f>0<f>slurm-wlm 22.05.8\n"
        b"<r>associations<f>1<f>sacctmgr: error: no database\n"
        b"<r>folder<f>0<f>/scratch/me\nx<f>1000000\n<r>end<f>0<f>\n"
    )
    found = parse_survey(data, "<r>", "<f>")
    assert (found.complete, found.slurm) == (True, "22.05.8")
    assert found.unanswered == ["associations: sacctmgr: error: no database"]
    assert found.folders == [Folder("/scratch/me\nx", 1.0)]


def test_an_answer_that_is_cut_short_is_not_complete() -> None:
    assert not parse_survey(b"<r>slurm<f>0<f>slurm 1\n", "<r>", "<f>").complete


KINDS = ["slurm", "associations", "qos", "partitions", "nodes", "modules", "conda", "folder", "python", "end"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["0", "1", ""]), st.binary(max_size=60))))
def test_no_answer_whatever_its_bytes_is_too_much(answers: list[tuple[str, str, bytes]]) -> None:
    data = b"".join(
        b"<r>%s<f>%s<f>%s\n" % (kind.encode(), code.encode(), text) for kind, code, text in answers
    )
    found = parse_survey(data, "<r>", "<f>")
    assert found.complete == any(kind == "end" and code == "0" for kind, code, _ in answers)
    assert len(found.folders) == sum(kind == "folder" and code == "0" for kind, code, _ in answers)


@given(st.text())
def test_no_text_is_too_much_for_a_parser(text: str) -> None:
    rows = [*parse_associations(text), *parse_qos(text), *parse_partitions(text, text), *parse_modules(text)]
    assert len(rows) <= 3 * (len(text) + 1)
    assert parse_minutes(text) is None or text.strip()
    assert all(folder.startswith("/") for folder in parse_conda(text))
    assert parse_gpus(text) == "" or "gpu" in text
