"""Starts: sessions put with their schedulers, at first and for each time that they go on."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from jobs.spec import RunSpec, SessionParameters
from workbench.errors import LinkLost, SubmissionUnclear
from workbench.model.job import Job, Resources
from workbench.model.session import Session, SessionKind
from workbench.ports import Workbench
from workbench.sessions import sintr
from workbench.sessions.book import Book
from workbench.sessions.served import SiteOf
from workbench.sessions.way import Site

_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 4
_TOKEN_BYTES = 32


def new_id() -> str:
    """A name for a session or a tunnel."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def usual_resources(site: Site) -> Resources:
    """What a session asks for where the user says nothing."""
    profile = site.profile
    return Resources(time_limit_s=60 * profile.interactive_minutes, qos=profile.interactive_qos or None)


@dataclass
class Starts:
    """Submits sessions, and keeps in the book which job each has."""

    workbench: Workbench
    site_of: SiteOf
    book: Book
    keep_job: Callable[[Job], Job]
    """For jobs that others submit."""
    clock: Callable[[], float]

    async def start(
        self,
        kind: SessionKind,
        *,
        profile: str | None,
        page: str,
        work_folder: str,
        resources: Resources | None,
    ) -> Session:
        """Submit a session; where it is found is settled at once, and will not change.

        Raises:
            WorkbenchError: It was refused.
        """
        site = await self.site_of(profile)
        session = Session(
            id=new_id(),
            kind=kind,
            profile=site.profile.name,
            created_at=self.clock(),
            token=secrets.token_urlsafe(_TOKEN_BYTES) if kind is SessionKind.JUPYTER else "",
            page=page if kind is SessionKind.JUPYTER else "",
            work_folder=work_folder,
        )
        if session.token:
            # Before anything runs that wants it; in nothing but these two files, which are the user's own.
            await site.connection.write(
                f"{_private_folder(site, session)}/token", session.token.encode(), mode=0o600
            )
        return await self._submitted(site, session, resources or usual_resources(site))

    async def after(self, session: Session, job: Job) -> Session | None:
        """The session with a second job that waits for the end of `job`; None where none may wait."""
        site = await self.site_of(session.profile)
        if not _may_wait(site, job):
            return None
        assert job.key is not None
        after = replace(job.spec.resources, dependency=f"afterany:{job.key.native_id}")
        new = await self._submitted(site, session, after)
        return self.book.keep_session(replace(new, job=session.job, next_job=new.job))

    async def renewed(self, session: Session, job: Job) -> Session:
        """The session in a new job that runs as soon as it may."""
        site = await self.site_of(session.profile)
        resources = replace(job.spec.resources, dependency=None)
        return await self._submitted(site, replace(session, renews=False, stopped=False), resources)

    async def _submitted(self, site: Site, session: Session, resources: Resources) -> Session:
        """The session with a job."""
        if session.kind is SessionKind.SINTR:
            held, job = await sintr.start(site, session, resources)
            self.keep_job(job)
            return self.book.keep_session(held)
        parameters = SessionParameters(
            page=session.page,
            work_folder=session.work_folder,
            private_folder=_private_folder(site, session),
            reach="hostname" if site.profile.notebook_reach == "hostname" else "127.0.0.1",
        )
        spec = RunSpec(parameters, name=f"{session.kind} session {session.id}")
        try:
            job = await self.workbench.submit(spec, resources, profile=session.profile)
        except (LinkLost, SubmissionUnclear):
            # It is finished by a later `refresh`: what follows must find the session to it.
            job = next(job for job in self.workbench.jobs() if job.spec.run == spec)
            self.book.keep_session(replace(session, job=job.id))
            raise
        return self.book.keep_session(replace(session, job=job.id))


def _private_folder(site: Site, session: Session) -> str:
    return f"{site.work_folder}/sessions/{session.id}"


def _may_wait(site: Site, job: Job) -> bool:
    """Whether a second job may be in the queue beside this one."""
    resources, alone = job.spec.resources, site.profile.interactive_qos
    return (
        site.profile.scheduler == "slurm" and job.key is not None and not (alone and resources.qos == alone)
    )
