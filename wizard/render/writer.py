"""Writes a bundle: all of it or nothing, nothing replaced unasked, permissions as the files need them.

A kill or a full disk at any moment leaves the old state or the new one (placement.py says how); what a killed
run left is cleared by the next.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Mapping
from pathlib import Path

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.render.paths import expanded
from wizard.render.placement import place
from wizard.vllm.flag_values import cut

REASONS = {
    errno.ENOSPC: "there is no space left on the disk; free some or choose another directory",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another directory",
    errno.EACCES: "you may not write there; choose another directory",
    errno.EPERM: "you may not write there; choose another directory",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a part of the path is a file; choose another directory",
    errno.EEXIST: "a file of that name is in the way; choose another directory",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EBUSY: "another export is writing there; wait for it and try again",
    errno.ENOTEMPTY: "another export is writing there; wait for it and try again",
    errno.ENOENT: "a part of the path can't be made there; choose another directory",
    errno.EINVAL: "no directory of that name can be made there; choose another directory",
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
            place(target, contents)
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


def _resolved(directory: str | Path) -> Path:
    """The real directory behind links. Raises WizardError for one that leads nowhere, or round in a circle."""
    if not str(directory).strip():
        raise WizardError("No directory is given; name a directory to write into, such as ./bundle.")
    path = expanded(directory)
    try:
        resolved = path.resolve()
        nowhere = path.is_symlink() and not resolved.exists()
    except (OSError, RuntimeError):
        raise WizardError(f"{cut(str(path))} can't be used: {REASONS[errno.ELOOP]}.") from None
    if nowhere:
        raise WizardError(
            f"{cut(str(path))} is a link that leads nowhere; remove it or choose another directory."
        )
    return resolved


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
