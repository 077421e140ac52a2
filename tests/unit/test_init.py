"""What `init` makes of a survey, and of what the user answers."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.choosing import Chooser
from workbench.config import parse_config
from workbench.errors import NotAllowed, NotFound
from workbench.init import values_of, write_profile
from workbench.survey import Association, Folder, Interpreter, Partition, Qos, Survey

CPU = Partition("icelake", True, 10080, [], [], 2, 76, "")
GPU = Partition("ampere", False, 10080, ["CPU", "gpu"], ["normal", "intr"], 1, 128, "a100:4")
FOUND = Survey(
    complete=True,
    slurm="22.05.8",
    default_account="cpu",
    associations=[
        Association("gpu", "ampere", ["intr", "normal", "hidden"], "normal", None),
        Association("cpu", "icelake", ["normal"], "", 60),
    ],
    qos=[Qos("normal", 720, None, None), Qos("intr", 30, 1, None)],
    partitions=[GPU, CPU],
    module_init="/etc/profile.d/modules.sh",
    modules=["rhel8/default-amp", "python/3.11"],
    folders=[Folder("/scratch/me/", 100.0), Folder("/home/me", None)],
    pythons=[
        Interpreter("/usr/bin/python3", (3, 6, 8), "", ""),
        Interpreter("/home/me/env/bin/python", (3, 11, 2), "2.4.0", "0.3.13"),
    ],
)


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Chooser:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
    return Chooser(asking=True)


def test_without_anybody_to_ask_the_defaults_are_taken_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    values = values_of(FOUND, Chooser(asking=False), "csd3")
    assert values == {
        "scheduler": "slurm",
        "slots": None,
        "account": "cpu",
        "partition": "icelake",
        "qos": None,
        "gpus": None,
        "time_limit_minutes": 60,
        "work_folder": "/scratch/me/mace-workbench",
        "python": "/home/me/env/bin/python",
    }
    said = capsys.readouterr()
    assert "Account and partition: cpu on icelake (2 nodes of 76 cores, no GPUs, at most 168 h)" in said.err
    assert said.out == ""


def test_what_the_user_chooses_is_taken_and_only_what_may_be_chosen_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser = typed(monkeypatch, "3", "x", "2", "2", "", "1", "2", "9", "1 2")
    values = values_of(FOUND, chooser, "csd3")
    assert (values["account"], values["partition"], values["qos"]) == ("gpu", "ampere", "intr")
    assert (values["gpus"], values["time_limit_minutes"]) == (1, 30)
    assert values["work_folder"] == "/scratch/me/mace-workbench"
    assert values["python"] == "/usr/bin/python3"
    assert values["setup"] == [
        ". /etc/profile.d/modules.sh",
        "module purge",
        "module load rhel8/default-amp",
        "module load python/3.11",
    ]
    said = capsys.readouterr().err
    assert said.count("Type a number from 1 to 2.") == 2
    assert "2) intr (at most 0.5 h, 1 submitted at a time)" in said
    assert "hidden" not in said
    assert "`mace-workbench doctor csd3 --create-env`" in said


def test_an_input_that_ends_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAllowed, match="nothing was written"):
        values_of(FOUND, typed(monkeypatch, "2"), "csd3")


def test_a_user_without_an_account_is_told_so() -> None:
    alone = replace(FOUND, associations=[Association("b", "elsewhere", [], "", None)])
    with pytest.raises(NotFound, match=r"2 partitions, 1 accounts"):
        values_of(alone, Chooser(asking=False), "csd3")


def test_a_host_without_slurm_gets_no_keys_of_slurm(tmp_path: Path) -> None:
    values = values_of(Survey(complete=True), Chooser(asking=False), "box")
    path = tmp_path / "config.toml"
    assert write_profile(path, "box", values, Chooser(asking=False), sure=False)
    assert path.read_text() == 'default = "box"\n\n[profiles.box]\nscheduler = "process"\n'


def test_a_site_without_accounting_offers_its_partitions() -> None:
    values = values_of(replace(FOUND, associations=[], qos=[]), Chooser(asking=False), "csd3")
    assert (values["account"], values["partition"], values["time_limit_minutes"]) == (None, "icelake", 10080)


def test_a_python_that_the_profile_has_stays_where_no_better_is_found() -> None:
    worse = replace(FOUND, pythons=FOUND.pythons[:1])
    assert values_of(worse, Chooser(asking=False), "csd3", "/mine")["python"] == "/mine"
    assert values_of(FOUND, Chooser(asking=False), "csd3", "/mine")["python"] == "/home/me/env/bin/python"


def test_names_from_the_cluster_cannot_reach_the_terminal_or_break_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = '/scratch/\x1b]0;owned\x07"]\n[profiles.local]\nslots = 9'
    values = values_of(replace(FOUND, folders=[Folder(evil, 1.0)]), Chooser(asking=False), "csd3")
    path = tmp_path / "config.toml"
    write_profile(
        path, "csd3", {**values, "host": "login", "connection": "asyncssh"}, Chooser(asking=False), sure=False
    )
    profiles, _ = parse_config(path.read_text(), "it")
    assert profiles["csd3"].work_folder == f"{evil}/mace-workbench"
    assert profiles["local"].slots == 1
    assert "\x1b" not in capsys.readouterr().err


def test_a_profile_that_differs_is_replaced_when_the_user_says_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    before = "# mine\n[profiles.box]\nslots = 2 # two\n\n[profiles.b]\n"
    path.write_text(before)
    with pytest.raises(NotAllowed, match="left as it is"):
        write_profile(path, "box", {"slots": 3}, typed(monkeypatch, "no"), sure=False)
    assert path.read_text() == before
    assert write_profile(path, "box", {"slots": 3}, typed(monkeypatch, "yes"), sure=False)
    assert path.read_text() == before.replace("2 # two", "3 # two")
