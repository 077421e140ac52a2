"""The way to what a session's job runs: found when it is first needed, and found anew when it has failed.

A job that is requeued comes up on another node, and its renewal is another job: whoever uses the way need
not know. What stands in it (the job waits, the node is gone, the link is down) is said as a sentence, which
is what a browser is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

from workbench.errors import ConnectionFailed, FileFailed, NotAllowed, WorkbenchError
from workbench.model.job import Job, JobState
from workbench.model.profile import ClusterProfile
from workbench.model.session import Place
from workbench.ports import ByteStream, Connection, Scheduler
from workbench.sessions import hop

log = logging.getLogger(__name__)

_PLACE_FILE = "session.json"


class Site(Protocol):
    """What is to be known of the place where the job runs."""

    @property
    def profile(self) -> ClusterProfile:
        """As the user describes it."""

    @property
    def connection(self) -> Connection:
        """To the host where its commands are."""

    @property
    def scheduler(self) -> Scheduler:
        """Where the job is."""

    @property
    def work_folder(self) -> str:
        """An absolute path."""


class Way:
    """To one session, whichever job holds it."""

    def __init__(
        self, site_of: Callable[[str], Awaitable[Site]], job: Callable[[], Awaitable[Job | None]]
    ) -> None:
        """`job` gives the session's job by the scheduler's newest word."""
        self._site_of = site_of
        self._job = job
        self._finding = asyncio.Lock()
        self._node: Connection | None = None
        self._hops: AsyncExitStack = AsyncExitStack()
        self._holder: Job | None = None
        """Whose place it is."""
        self.place: Place | None = None
        """Where it is, as far as that is known."""
        self._word = b""
        """What the job had written of its place when it was looked at last."""

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[ByteStream]:
        """A channel to the session's Jupyter.

        Raises:
            WorkbenchError: It cannot be reached now; the sentence says why.
        """
        async with AsyncExitStack() as stack:
            place, node = await self._found()
            if not place.port:
                raise NotAllowed("This session has no Jupyter.")
            try:
                channel = await stack.enter_async_context(node.open_channel(place.address, place.port))
            except ConnectionFailed:
                await self._lose(node)
                raise
            yield channel

    async def node(self) -> tuple[Place, Connection]:
        """The place, and a connection to its host.

        Raises:
            WorkbenchError: It cannot be reached now; the sentence says why.
        """
        return await self._found()

    async def forget(self) -> None:
        """Find it anew the next time."""
        async with self._finding:
            self.place = None
            await self._leave()

    async def find(self) -> Place:
        """Read where the session is.

        Raises:
            WorkbenchError: It is nowhere yet, or not any more; the sentence says why.
        """
        async with self._finding:
            return await self._find()

    async def ask_early(self, job: Job) -> None:
        """Have the scheduler asked out of its turn where a job that waits has written that it runs.

        A file is looked at every second, as no queue may be: after a long wait that is asked for rarely.
        """
        site = await self._site_of(job.profile)
        try:
            word = (await site.connection.read(f"{job.folder}/{_PLACE_FILE}")).data
        except FileFailed:
            word = b""
        if word != self._word and word:
            site.scheduler.stir()
        self._word = word

    # -- inside ----------------------------------------------------------------------------------

    async def _lose(self, node: Connection) -> None:
        """Go into the node anew the next time, if this is still the way: mostly, only the link was lost."""
        async with self._finding:
            if node is self._node:
                await self._leave()

    async def _leave(self) -> None:
        self._node = None
        hops, self._hops = self._hops, AsyncExitStack()
        await hops.aclose()

    async def _found(self) -> tuple[Place, Connection]:
        async with self._finding:
            place = self.place or await self._find()
            if self._node is None:
                try:
                    self._node = await self._hop(place)
                except ConnectionFailed:
                    self.place = None  # it may be somewhere else by now
                    raise
            return place, self._node

    async def _find(self) -> Place:
        job = await self._job()
        if job is None:
            raise NotAllowed("The session's job is not known any more: start another session.")
        if job.state.is_over:
            raise NotAllowed(f"The session's job {job.id} is over ({job.state.lower()}): renew the session.")
        if job.state is not JobState.RUNNING:
            why = f" ({job.status.reason})" if job.status.reason else ""
            raise NotAllowed(f"The session's job {job.id} is {job.state.lower()}{why}.")
        site = await self._site_of(job.profile)
        starting = NotAllowed(f"The session's job {job.id} is starting on {job.status.node}.")
        try:
            data = (await site.connection.read(f"{job.folder}/{_PLACE_FILE}")).data
            place = Place.from_json(data)
        except (FileFailed, ValueError) as error:
            log.debug("%s: %s", job.id, error)
            raise starting from error
        if place.is_left_by(job.status.node, job.status.started_at):
            raise starting
        self.place, self._holder = place, job
        return place

    async def _hop(self, place: Place) -> Connection:
        """A connection to where the session's programs are, which may be where commands run anyway."""
        job = self._holder
        assert job is not None
        site = await self._site_of(job.profile)
        if site.profile.scheduler != "slurm" or place.address not in ("", "127.0.0.1"):
            return site.connection
        assert job.key is not None
        by_ssh = hop.by_ssh(site.connection, place.node)
        by_step = hop.by_step(site.connection, job.key.native_id, place.node)
        failed: list[str] = []
        for node in (by_ssh, by_step):
            try:
                await node.run(["true"])
            except WorkbenchError as error:
                failed.append(str(error))
                with suppress(WorkbenchError):
                    await node.close()
            else:
                self._hops.push_async_callback(node.close)
                return node
        raise ConnectionFailed(
            site.connection.host,
            f"neither ssh nor srun leads into {place.node} ({'; '.join(failed)}); where the site allows "
            'neither, set `notebook_reach = "hostname"` in the profile',
        )
