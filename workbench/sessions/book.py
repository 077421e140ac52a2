"""The book of sessions and tunnels: what the user wants, on this machine's disk.

One file each, which only the user can read, for a session's holds Jupyter's token. Whoever serves an entry
(listens on its port, renews its job) holds a lock beside it, so that two programs do not do it at once.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from workbench.errors import StoreError
from workbench.model.session import Session
from workbench.model.tunnel import Tunnel

log = logging.getLogger(__name__)

_ENDING = ".json"


class Book:
    """Entries by their names, in one folder. What another program has changed is seen at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, int] = {}

    # -- sessions ------------------------------------------------------------------------------------

    def sessions(self) -> Sequence[Session]:
        """All of them, newest first; what cannot be read is passed over and logged."""
        found = []
        for path in self._paths("sessions"):
            try:
                found.append(Session.from_json(path.read_bytes()))
            except (OSError, ValueError) as error:
                log.warning("The session in %s is left out: %s", path, error)
        return sorted(found, key=lambda session: session.created_at, reverse=True)

    def keep_session(self, session: Session) -> Session:
        """Keep it as it is now."""
        self._write("sessions", session.id, session.to_json())
        return session

    def forget_session(self, session_id: str) -> None:
        """Drop it, with all that was kept for it."""
        self.let_go(session_id)
        for ending in (_ENDING, ".html"):
            with suppress(FileNotFoundError):
                (self._folder / "sessions" / f"{session_id}{ending}").unlink()

    def write_page(self, session_id: str, text: str) -> Path:
        """A page for the session that only the user can read; its path."""
        return self._write("sessions", session_id, text, ".html")

    # -- tunnels -------------------------------------------------------------------------------------

    def tunnels(self) -> Sequence[Tunnel]:
        """All of them, by name."""
        found = []
        for path in self._paths("tunnels"):
            try:
                found.append(Tunnel(**json.loads(path.read_bytes())))
            except (OSError, ValueError, TypeError) as error:
                log.warning("The tunnel in %s is left out: %s", path, error)
        return sorted(found, key=lambda tunnel: tunnel.name)

    def keep_tunnel(self, tunnel: Tunnel) -> Tunnel:
        """Keep it as it is now."""
        self._write("tunnels", tunnel.name, json.dumps(asdict(tunnel)) + "\n")
        return tunnel

    def forget_tunnel(self, name: str) -> None:
        """Drop it."""
        self.let_go(name)
        with suppress(FileNotFoundError):
            (self._folder / "tunnels" / f"{name}{_ENDING}").unlink()

    # -- who serves ----------------------------------------------------------------------------------

    def claim(self, name: str) -> bool:
        """Be the one program that serves an entry; false where another one is."""
        if name in self._locks:
            return True
        folder = self._folder / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            os.ftruncate(fd, 0)
            os.write(fd, str(os.getpid()).encode())
        except OSError as error:
            raise self._failed(error) from error
        self._locks[name] = fd
        return True

    def server_of(self, name: str) -> int | None:
        """The process that serves an entry; None where nobody does."""
        if name in self._locks:
            return os.getpid()
        try:
            fd = os.open(self._folder / "locks" / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.read(fd, 20)
            return int(said) if said.isdigit() else 0
        finally:
            os.close(fd)
        return None

    def let_go(self, name: str) -> None:
        """Serve it no more."""
        fd = self._locks.pop(name, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Serve nothing any more."""
        for name in list(self._locks):
            self.let_go(name)

    # -- files ---------------------------------------------------------------------------------------

    def _paths(self, kind: str) -> Sequence[Path]:
        return sorted((self._folder / kind).glob(f"[!.]*{_ENDING}"))

    def _write(self, kind: str, name: str, text: str, ending: str = _ENDING) -> Path:
        folder = self._folder / kind
        part = folder / f".{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                return part.replace(folder / f"{name}{ending}")
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"Nothing can be kept in {self._folder} ({error.strerror or error}): free some space, mend its "
            "permissions, or set XDG_STATE_HOME to another folder."
        )
