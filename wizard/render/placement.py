"""Puts a set of files into a directory in one step: staged beside it, then renamed or exchanged.

Where the directory itself can't be swapped (it holds folders, it is a mount point or the current
directory), every file is complete on disk before the first is replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""linux/fs.h; swaps two paths in one step."""


def place(target: Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files into `target`, all or none. Raises OSError when the disk refuses; nothing has changed then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    if not target.exists() or not any(target.iterdir()):
        with _staging(target) as stage:
            _fill(stage, contents)
            stage.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o777 & ~_umask())
            stage.rename(target)
    elif _can_exchange(target):
        with _staging(target) as stage:
            _fill(stage, contents)
            _keep_others(target, stage, contents)
            stage.chmod(stat.S_IMODE(target.stat().st_mode))
            _sync(stage)
            if not _exchange(stage, target):
                _write_in_place(target, contents)
    else:
        _write_in_place(target, contents)
    _sync(target.parent)


def mode_of(name: str) -> int:
    """Scripts can be run, files that will hold secrets are for their owner alone."""
    if name.endswith(".sh"):
        return 0o755
    return 0o600 if ".env" in name else 0o644


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A new directory beside `target`, named after this process; gone afterwards whatever happens."""
    stage = target.parent / f".{target.name}.partial-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Staging directories of processes that are no more."""
    prefix = f".{target.name}.partial-"
    for entry in target.parent.iterdir():
        owner = entry.name.removeprefix(prefix)
        if entry.name.startswith(prefix) and owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _fill(stage: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        _write_file(stage / name, content, mode_of(name))
    _sync(stage)


def _write_file(path: Path, content: bytes, mode: int) -> None:
    """A new file, on disk before it returns; never readable by others for a moment longer than it may be."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(handle, mode & ~_umask())
        os.fsync(handle)


def _umask() -> int:
    """The process's umask, read where that changes nothing for other threads (proc(5), status)."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def _can_exchange(target: Path) -> bool:
    """Only files and links inside, all movable by hard links, and not the directory that we stand in."""
    if Path.cwd().is_relative_to(target) or target.is_mount() or target.parent == target:
        return False
    with os.scandir(target) as entries:
        return all(entry.is_file(follow_symlinks=False) or entry.is_symlink() for entry in entries)


def _keep_others(target: Path, stage: Path, contents: Mapping[str, bytes]) -> None:
    """The user's own files come along as hard links: no copy, no change."""
    for entry in os.scandir(target):
        if entry.name not in contents:
            os.link(entry.path, stage / entry.name, follow_symlinks=False)


def _exchange(stage: Path, target: Path) -> bool:
    """Swaps two directories in one step; False where the kernel or file system can't."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    status = renameat2(AT_FDCWD, os.fsencode(stage), AT_FDCWD, os.fsencode(target), RENAME_EXCHANGE)
    return bool(status == 0)


def _write_in_place(target: Path, contents: Mapping[str, bytes]) -> None:
    """Where the directory itself can't be swapped: every file is complete on disk before the first is
    replaced, and an error on the way puts the old ones back."""
    suffix = f".partial-{os.getpid()}"
    staged = {name: target / f".{name}{suffix}" for name in contents}
    backups = {name: target / f".{name}.old{suffix}" for name in contents}
    try:
        for name, content in contents.items():
            staged[name].unlink(missing_ok=True)
            _write_file(staged[name], content, mode_of(name))
        for name in contents:
            if (target / name).is_symlink() or (target / name).exists():
                os.link(target / name, backups[name], follow_symlinks=False)
        done: list[str] = []
        try:
            for name in contents:
                staged[name].replace(target / name)
                done.append(name)
        except OSError:
            for name in done:
                if backups[name].is_symlink() or backups[name].exists():
                    backups[name].replace(target / name)
                else:
                    (target / name).unlink(missing_ok=True)
            raise
        _sync(target)
    finally:
        for path in (*staged.values(), *backups.values()):
            path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """The directory's entries reach the disk; file systems that can't sync directories are left alone."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
