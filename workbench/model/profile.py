"""ClusterProfile: everything that is to be known of a place where jobs run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ConnectionKind = Literal["local", "asyncssh", "openssh", "paramiko"]
SchedulerKind = Literal["process", "slurm"]
NotebookReach = Literal["auto", "hop", "hostname"]


@dataclass(frozen=True, slots=True)
class ClusterProfile:
    """One place where jobs run, as the user describes it in the configuration."""

    name: str
    connection: ConnectionKind = "local"
    """How it is reached."""
    host: str = ""
    """Its name in ~/.ssh/config, or its address; for all connections but `local`."""
    ssh_config: str = ""
    """Read in place of ~/.ssh/config."""
    scheduler: SchedulerKind = "process"
    """What starts jobs there."""
    work_folder: str = ""
    """Where runs and code are kept there; empty for the program's own data folder."""
    python: str = ""
    """The interpreter that has torch and mace-torch; empty for the one that runs this program, and
    elsewhere for `python3`."""
    setup: Sequence[str] = ()
    """Shell commands before each run, each complete: modules, conda."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of every job."""
    slots: int = 1
    """Jobs that a host without a scheduler runs at once: more than one would disturb each other's timings."""
    account: str = ""
    """Of Slurm: whose hours are used."""
    partition: str = ""
    """Of Slurm: on which kind of node."""
    qos: str = ""
    """Of Slurm; empty for the account's own."""
    members_at_once: int = 0
    """Of Slurm: how many members of a sweep run at the same time; 0 for as many as the site lets run."""
    gpus: int = 0
    """For a job that does not say how many."""
    time_limit_minutes: int = 0
    """The most that a job may ask for; 0 where the scheduler is to judge that."""
    notice_s: int = 10
    """Within how many seconds a dead connection is noticed."""
    hosts: Sequence[str] = ()
    """Login nodes to choose from, where there are several; `host` is what they are called together."""
    interactive_qos: str = ""
    """Of Slurm: for sessions; one that lets only one job a user be submitted, as INTR, is renewed only when
    the last job has ended. Empty for that of other jobs."""
    interactive_minutes: int = 60
    """That a session asks for."""
    notebook_reach: NotebookReach = "auto"
    """How Jupyter is reached on a node: `hop`, through a command into the node, so that it listens to nobody
    else; `hostname`, where it listens on the node's name; `auto` is `hop` wherever there is Slurm."""
