"""The seams of the local side: what a connection, a scheduler and the workbench itself can do.

Whatever talks to the outside stands behind one of these protocols, `services` alone chooses which,
and nothing that draws knows more than this package.
"""

from workbench.ports.connection import ByteStream, Completed, Connection, FileChunk, RemoteProcess
from workbench.ports.prompter import Prompter, Question
from workbench.ports.scheduler import Desk, Scheduler, StartEstimate
from workbench.ports.workbench import Outbox, Queues, RunView, SessionDesk, Workbench

__all__ = [
    "ByteStream",
    "Completed",
    "Connection",
    "Desk",
    "FileChunk",
    "Outbox",
    "Prompter",
    "Question",
    "Queues",
    "RemoteProcess",
    "RunView",
    "Scheduler",
    "SessionDesk",
    "StartEstimate",
    "Workbench",
]
