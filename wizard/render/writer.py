"""Writes a bundle: all of it or nothing, nothing replaced unasked, permissions as the files need them.

The files are written and synced in a directory beside the target, which then takes the target's place
in one step: by rename where there is nothing yet, by exchange (Linux renameat2) where there is. A kill
or a full disk at any moment leaves the old state or the new one; what a killed run left beside the
target is removed by the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wizard.errors import WizardError
from wizard.vllm.flag_values import cut

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""linux/fs.h; swaps two paths in one step."""

REASONS = {
    errno.ENOSPC: "there is no space left on the disk; free some or choose another directory",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another directory",
    errno.EACCES: "you may not write there; choose another directory",
    errno.EPERM: "you may not write there; choose another directory",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a part of the path is a file; choose another directory",
    errno.EEXIST: "a file of that name is in the way; choose another directory",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "the path is a loop of symbolic links; choose another directory",
}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What an export left on disk."""

    directory: Path
    files: tuple[Path, ...]
    created: tuple[str, ...]
    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]


def write_bundle(
    directory: str | Path, artifacts: Mapping[str, str], *, overwrite: bool = False
) -> WriteResult:
    """Puts `artifacts` (name -> text) into `directory`, which is made when missing.

    Raises WizardError, in one sentence, when a file that differs would be replaced and `overwrite` is
    False, or when the directory can't be written; nothing has changed then.
    """
    target = _resolved(directory)
    contents = {_safe_name(name): _encoded(name, text) for name, text in artifacts.items()}
    created, replaced, unchanged = _compared(target, contents)
    if replaced and not overwrite:
        names = ", ".join(replaced[:4]) + (" and more" if len(replaced) > 4 else "")
        raise WizardError(
            f"{cut(str(target))} already holds {names}; allow replacing them or choose a new directory."
        )
    try:
        if created or replaced or not target.is_dir():
            _write(target, contents)
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or "unknown error")
        raise WizardError(f"{cut(str(target))} can't be written: {reason}; nothing was changed.") from None
    return WriteResult(
        directory=target,
        files=tuple(target / name for name in contents),
        created=tuple(created),
        replaced=tuple(replaced),
        unchanged=tuple(unchanged),
    )


def diff_bundle(directory: str | Path, artifacts: Mapping[str, str]) -> dict[str, str]:
    """Unified diffs of the files that writing would replace, by name; new and equal files are left out."""
    target = _resolved(directory)
    contents = {_safe_name(name): _encoded(name, text) for name, text in artifacts.items()}
    _, replaced, _ = _compared(target, contents)
    return {name: _diff(target / name, contents[name]) for name in replaced}


def mode_of(name: str) -> int:
    """Scripts can be run, files that will hold secrets are for their owner alone."""
    if name.endswith(".sh"):
        return 0o755
    return 0o600 if ".env" in name else 0o644


def _resolved(directory: str | Path) -> Path:
    """The real directory behind links; a dangling link or a loop is left for writing to complain about."""
    path = Path(directory).expanduser()
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise WizardError(f"{cut(str(path))} can't be used: {REASONS[errno.ELOOP]}.") from None


def _safe_name(name: str) -> str:
    """Bundles are flat; a name that would leave the directory is a mistake of ours, never written."""
    if name != Path(name).name or name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def _encoded(name: str, text: str) -> bytes:
    """UTF-8; bytes of a file name that were no UTF-8 come out as they were."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        raise WizardError(
            f"{name} can't be written: a name in it is not valid text; rename the model."
        ) from None


def _compared(target: Path, contents: Mapping[str, bytes]) -> tuple[list[str], list[str], list[str]]:
    created: list[str] = []
    replaced: list[str] = []
    unchanged: list[str] = []
    try:
        for name, content in contents.items():
            path = target / name
            if not path.is_symlink() and not path.exists():
                created.append(name)
            elif path.is_dir():
                raise WizardError(f"{cut(str(path))} is a directory; choose another place for the bundle.")
            elif path.is_file() and _same(path, name, content):
                unchanged.append(name)
            else:
                replaced.append(name)
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or "unknown error")
        raise WizardError(f"{cut(str(target))} can't be read: {reason}.") from None
    return created, replaced, unchanged


def _same(path: Path, name: str, content: bytes) -> bool:
    status = path.stat()
    return status.st_size == len(content) and path.read_bytes() == content


def _diff(path: Path, new: bytes) -> str:
    try:
        old = path.read_text("utf-8", errors="replace")
    except OSError as error:
        return f"{path.name} can't be read ({error.strerror})\n"
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.decode("utf-8", errors="replace").splitlines(keepends=True),
        fromfile=f"{path.name} (there now)",
        tofile=f"{path.name} (new)",
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _write(target: Path, contents: Mapping[str, bytes]) -> None:
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
