"""What a dropped link must not cost: the answers so far, saved after every change and found again.

Every running wizard owns one slot, a file in the XDG state directory, by a lock that the kernel drops
with the process (so kill -9 frees it too). Two wizards therefore never write the same file. Writing is
atomic; a file that can't be understood is set aside under another name, never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wizard.dataclass import dataclass
from wizard.schemas.checked import Checked
from wizard.schemas.inputs import PlanRequest
from wizard.text import printable

FORMAT = 1
"""Of the session file; a file with a larger number was written by a newer wizard."""

SLOTS = 16
"""Wizards that can be saved side by side; one more runs unsaved."""

NEWER = "newer"
"""In the name of a file set aside because a newer wizard wrote it."""

LARGEST_BYTES = 1 << 20
"""A session is a few kilobytes; anything larger is not one."""


Resume = Callable[[PlanRequest], PlanRequest]
"""What becomes of a saved request at the next start."""


class Session(Checked):
    """All that the next start needs to go on at the same screen with the same values."""

    format: int = FORMAT
    step: str = "model"
    request: PlanRequest
    directory: str = ""
    """Where the export goes, as typed; empty for the wizard's own suggestion."""
    unticked: tuple[str, ...] = ()
    """Usual files that the user does not want written."""
    ticked: tuple[str, ...] = ()
    """Other files that the user wants as well."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session that an earlier wizard left."""

    session: Session
    path: Path


def state_directory() -> Path:
    """Where sessions live: `$XDG_STATE_HOME/vllm-wizard-tui`, by default under `~/.local/state`."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()
    return base / "vllm-wizard-tui"


class SessionStore:
    """This wizard's slot. Nothing here raises for a disk that is full, read-only or absent: `trouble` says so."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or state_directory()
        self.trouble = ""
        """Why the last save failed; empty while answers are safe."""
        self.set_aside: list[Path] = []
        """Files that were not sessions, under the names they have now."""
        self._slot: Path | None = None
        self._lock: int | None = None

    def find(self, resume: Resume = lambda saved: saved) -> Found | None:
        """The newest session that no running wizard owns, and this wizard owns from now on; else None.

        `resume` makes of the saved request the one to go on with: with this start's options on top.
        """
        with contextlib.suppress(OSError):
            for path in self._newest_first():
                if not self._claim(path):
                    continue
                session = self._read(path)
                if session is not None:
                    return Found(session.model_copy(update={"request": resume(session.request)}), path)
                self.release()
        return None

    def save(self, session: Session) -> bool:
        """Writes `session` into this wizard's slot, claiming a free one first; False with `trouble` set if not."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._slot is None and not any(self._claim(path) for path in self._free_slots()):
                self.trouble = f"More than {SLOTS} wizards are running; this one is not saved."
                return False
            assert self._slot is not None
            _replace(self._slot, session.model_dump_json(indent=1, exclude_defaults=True) + "\n")
        except OSError as error:
            self.trouble = f"Your answers can't be saved in {self.directory}: {error.strerror}."
            return False
        self.trouble = ""
        return True

    @property
    def set_aside_words(self) -> str:
        """What became of the saved session that was not read, in one sentence with its path; empty for none."""
        if not self.set_aside:
            return ""
        why = "was saved by a newer wizard" if NEWER in self.set_aside[0].name else "could not be read"
        return f"The saved session {why}; it is kept as {printable(self.set_aside[0], 4000)}"

    def discard(self) -> None:
        """Forgets what is saved in this wizard's slot."""
        if self._slot is not None:
            with contextlib.suppress(OSError):
                self._slot.unlink(missing_ok=True)

    def release(self) -> None:
        """Lets another wizard have the slot; what is saved stays."""
        if self._lock is not None:
            os.close(self._lock)
        self._slot = self._lock = None

    def _newest_first(self) -> list[Path]:
        present = [path for path in self._slots() if path.is_file()]
        return sorted(present, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def _slots(self) -> Iterator[Path]:
        yield self.directory / "session.json"
        for number in range(2, SLOTS + 1):
            yield self.directory / f"session-{number}.json"

    def _free_slots(self) -> list[Path]:
        """Empty slots first, then the one saved longest ago: a fresh start forgets the oldest, not the newest."""
        empty = [path for path in self._slots() if not path.exists()]
        return empty or self._newest_first()[::-1]

    def _claim(self, path: Path) -> bool:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._slot, self._lock = path, lock
        return True

    def _read(self, path: Path) -> Session | None:
        try:
            if path.stat().st_size > LARGEST_BYTES:
                self._put_aside(path, "unreadable")
                return None
            document: Any = json.loads(path.read_text(encoding="utf-8"))
            if _is_newer(document):
                self._put_aside(path, NEWER)
                return None
            return Session.model_validate(document)
        except OSError:
            return None
        except (ValueError, RecursionError):
            self._put_aside(path, "unreadable")
            return None

    def _put_aside(self, path: Path, why: str) -> None:
        number = 1
        while (aside := path.with_name(f"{path.stem}.{why}-{number}.json")).exists():
            number += 1
        with contextlib.suppress(OSError):
            path.rename(aside)
            self.set_aside.append(aside)


def _is_newer(document: Any) -> bool:
    number = document.get("format") if isinstance(document, dict) else None
    return isinstance(number, int) and number > FORMAT


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and durably: the old one stays until the new one is on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
