"""Puts a set of files into a directory in one step.

A directory that isn't there yet is made complete beside its place and renamed. In one that is there, every
file first becomes a link through one common link (`now`), to what it held before; then `now` is
turned from the old files to the new in a single rename, and the links give way to the files themselves.
Whoever reads at any moment, also after a kill or a power cut, finds all old contents or all new ones. The
directory keeps its identity: it may be a mount point, hold folders, or be where a shell stands. What a killed
run left is cleared by the next, which first finishes, or takes back, what that one had begun.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PATIENCE_S = 10.0
"""How long to wait for another export into the same directory; one takes a moment."""

NOT_HERE = frozenset({errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})
"""Another place for the stage may do where this one doesn't: a mount point has another file system beside it."""

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
"""What file systems say that have no links (FAT), and kernels that protect files of other users."""


def place(target: Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files into `target`, all or none. Raises OSError when the disk refuses; nothing has changed then."""
    if not target.is_dir():
        _as_new(target, contents)
        return
    with _locked(target, patience_s=PATIENCE_S):
        _clear(target)
        try:
            _through_links(target, target.parent, contents)
        except OSError as error:
            if error.errno not in NOT_HERE or target.parent == target:
                raise
            _through_links(target, target, contents)


def mode_of(name: str) -> int:
    """Scripts can be run, files that will hold secrets are for their owner alone."""
    if name.endswith(".sh"):
        return 0o755
    return 0o600 if ".env" in name else 0o644


def _prefix(target: Path) -> str:
    """Begins the name of what is there for a moment only, while files are placed into `target`."""
    name = target.name
    if len(name) > LONGEST_NAME:
        name = name[:LONGEST_NAME] + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}.partial-"


LONGEST_NAME = 100
"""Of a directory, before its name is cut: 255 bytes are allowed (limits.h, NAME_MAX)."""


def _clear(target: Path) -> None:
    """Ends what killed runs have left, beside `target` or in it."""
    for place in {target.parent, target}:
        for left in place.glob(glob.escape(_prefix(target)) + "*") if place.is_dir() else ():
            with contextlib.suppress(OSError), _locked(left):
                _finish(target, left)


def _as_new(target: Path, contents: Mapping[str, bytes]) -> None:
    """A directory made beside its place, then renamed to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    stage = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        with _locked(stage):
            _fill(stage, contents)
            stage.chmod(0o777 & ~_umask())
            stage.rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    _sync(target.parent)


def _through_links(target: Path, beside: Path, contents: Mapping[str, bytes]) -> None:
    stage = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=beside))
    try:
        linked = _prepare(target, stage, contents)
        if linked:
            for name in contents:
                (stage / "via" / name).replace(target / name)
            _sync(target)
            (stage / "next").replace(stage / "now")
            _sync(stage)
        else:
            _one_by_one(target, stage, contents)
    finally:
        _finish(target, stage)


def _prepare(target: Path, stage: Path, contents: Mapping[str, bytes]) -> bool:
    """Everything that needs room on the disk, so that only renames are left to do; False without links.

    `new` holds the files to come, `old` those there now, `via` the links that will stand in their place, all
    through `now`, which is `old` until `next` takes its place.
    """
    mode = stat.S_IMODE(target.stat().st_mode) & 0o777
    for folder in ("new", "old", "via", "kept"):
        (stage / folder).mkdir()
        (stage / folder).chmod(mode)  # who may read the directory reads through these for a moment
    stage.chmod(mode)
    _fill(stage / "new", contents)
    for name in contents:
        there = target / name
        if there.is_symlink():
            (stage / "kept" / name).symlink_to(there.readlink())
            (stage / "old" / name).symlink_to(target / there.readlink())
        elif there.exists():
            _keep(there, stage / "old" / name)
    up = () if stage.parent == target else ("..",)
    try:
        for name in contents:
            (stage / "via" / name).symlink_to(Path(*up, stage.name, "now", name))
        (stage / "now").symlink_to("old")
        (stage / "next").symlink_to("new")
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    for folder in ("old", "kept", "via", ""):
        _sync(stage / folder)
    return True


def _keep(file: Path, to: Path) -> None:
    """The same file under another name, or a copy where there can be none."""
    try:
        os.link(file, to)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(file, to)


def _one_by_one(target: Path, stage: Path, contents: Mapping[str, bytes]) -> None:
    """Without links every file is complete on disk before the first is replaced; an error puts all back."""
    done: list[str] = []
    try:
        for name in contents:
            (stage / "new" / name).replace(target / name)
            done.append(name)
    except OSError:
        for name in done:
            if (stage / "old" / name).exists():
                (stage / "old" / name).replace(target / name)
            else:
                (target / name).unlink()
        raise


def _finish(target: Path, stage: Path) -> None:
    """Ends what was begun with `stage`: forwards once `now` means the new files, backwards before that."""
    try:
        forwards = (stage / "now").readlink() == Path("new")
    except OSError:
        forwards = False  # it never came so far as to touch a file
    for name in _standing(target, stage):
        sources = ("new",) if forwards else ("kept", "old")
        source = next((stage / each / name for each in sources if os.path.lexists(stage / each / name)), None)
        if source is None:
            (target / name).unlink()
        else:
            source.replace(target / name)
    if target.is_dir():
        _sync(target)
    shutil.rmtree(stage, ignore_errors=True)


def _standing(target: Path, stage: Path) -> list[str]:
    """Names in `target` that are links through `stage` now."""
    found = []
    for folder in ("new", "via"):
        with contextlib.suppress(OSError):
            found += [each.name for each in (stage / folder).iterdir()]
    return [name for name in dict.fromkeys(found) if _leads_to(target / name, stage)]


def _leads_to(path: Path, stage: Path) -> bool:
    try:
        return stage.name in path.readlink().parts[:2]
    except OSError:
        return False


@contextlib.contextmanager
def _locked(directory: Path, *, patience_s: float = 0) -> Iterator[None]:
    """Nobody else's export writes there meanwhile; the kernel lets go with the process.

    Raises OSError (EBUSY) where somebody's still does after `patience_s`. File systems without locks are trusted.
    """
    until = time.monotonic() + patience_s
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _lock(handle):
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # NFS without a lock service, and the like
    return True


def _fill(directory: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        _write_file(directory / name, content, mode_of(name))
    _sync(directory)


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


def _sync(directory: Path) -> None:
    """The directory's entries reach the disk; file systems that can't sync directories are left alone."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
