"""The site's own `sintr`, kept alive off the terminal: in a tmux or screen on the login node.

It asks for its job and holds it as it always does, but what it takes for its terminal is not one that any
link or window could take away. Its job is found by the token in its comment, as every other.
"""

from __future__ import annotations

import importlib.resources
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from jobs.spec import RunSpec, SessionParameters
from workbench.errors import NotAllowed, SchedulerError
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Resources
from workbench.model.session import Session
from workbench.plain import plain
from workbench.sessions.way import Site

_ATTACH = """
[ "$(hostname)" = "$1" ] || exec ssh -t "$1" $2
exec $2
"""


async def start(site: Site, session: Session, resources: Resources) -> tuple[Session, Job]:
    """The session, held by the site's own command, and its job.

    Raises:
        NotAllowed: There is no Slurm there.
        SchedulerError: It has not asked for a job; the sentence says what it printed.
    """
    if site.profile.scheduler != "slurm":
        raise NotAllowed(
            f"The profile {site.profile.name} has no Slurm, and so no sintr: choose `--kind shell`."
        )
    job_id = secrets.token_hex(3)
    token = f"mw:{job_id}:1"
    place = f"/tmp/mace-sintr-{session.id}-{job_id}"
    script = importlib.resources.files("workbench.sessions").joinpath("host/sintr.sh").read_text()
    argv = [
        "sh",
        "-c",
        script,
        "mace-workbench-sintr",
        token,
        place,
        "sintr",
        *options(site, resources, token),
    ]
    done = await site.connection.run(argv, check=False)
    words = done.stdout.decode(errors="replace").split()
    if words[:1] != ["job"] or len(words) != 4:
        said = " ".join(words[1:]) or done.stderr.decode(errors="replace").strip() or "it said nothing"
        raise SchedulerError(f"`sintr` on {site.connection.host} has not asked for a job: {plain(said)}")
    _, native_id, login_node, kind = words
    spec = RunSpec(SessionParameters(page=""), name=f"sintr session {session.id}")
    job = Job(
        id=job_id,
        profile=site.profile.name,
        folder=f"{site.work_folder}/runs/{job_id}",
        spec=JobSpec(spec, resources),
        status=JobStatus(JobState.PENDING),
        created_at=time.time(),
        key=JobKey(site.connection.host, native_id, time.time()),
    )
    return replace(session, job=job.id, held_at=f"{login_node} {kind} {place}"), job


def options(site: Site, resources: Resources, token: str) -> Sequence[str]:
    """Of sbatch, which sintr takes as well."""
    profile = site.profile
    chosen = {
        "account": resources.account or profile.account,
        "partition": resources.partition or profile.partition,
        "qos": resources.qos or "",
    }
    gpus = profile.gpus if resources.gpus is None else resources.gpus
    return [
        *(f"--{name}={value}" for name, value in chosen.items() if value),
        *([f"--gres=gpu:{gpus}"] if gpus else []),
        f"--time={max(1, resources.time_limit_s // 60)}",
        f"--cpus-per-task={resources.cpus}",
        f"--comment={token}",
    ]


def attach_argv(session: Session) -> Sequence[str]:
    """What attaches, on any of the site's login nodes.

    Raises:
        NotAllowed: There is nothing to attach to.
    """
    login_node, kind, place = session.held_at.split()
    if kind == "none":
        raise NotAllowed(f"There is neither tmux nor screen on {login_node}: nothing can be attached to.")
    command = f"tmux -u -S {place}/tmux attach"
    if kind == "screen":
        command = f"env SCREENDIR={place}/screen screen -x sintr"
    return ["sh", "-c", _ATTACH, "mace-workbench-attach", login_node, command]
