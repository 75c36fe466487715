"""Bundles on disk: all or nothing, nothing replaced unasked, the right permissions, one sentence for every error."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wizard.errors import WizardError
from wizard.render import placement
from wizard.render.writer import diff_bundle, write_bundle

OLD = {f"file-{index}.sh": f"old {index}\n" for index in range(12)} | {
    ".env.example": "old\n",
    "plan.json": "{}",
}
NEW = {name: text.replace("old", "new") + "x" * 5000 for name, text in OLD.items()}


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()} if directory.exists() else {}


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.parent.iterdir() if ".partial-" in path.name]


def test_a_new_directory_is_made_with_the_right_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "bundle"
    result = write_bundle(target, {"serve.sh": "#!/bin/sh\n", ".env.example": "X=\n", "plan.json": "{}"})
    assert contents(target) == {"serve.sh": "#!/bin/sh\n", ".env.example": "X=\n", "plan.json": "{}"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
    assert modes[".env.example"] == 0o600
    assert modes["serve.sh"] & 0o700 == 0o700
    assert not modes["plan.json"] & 0o111
    assert result.files == tuple(target / name for name in ("serve.sh", ".env.example", "plan.json"))
    assert set(result.created) == {"serve.sh", ".env.example", "plan.json"}
    assert leftovers(target) == []


def test_files_that_differ_are_never_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    with pytest.raises(WizardError, match=r"already holds file-0\.sh.*and more"):
        write_bundle(target, NEW)
    assert contents(target) == OLD
    assert write_bundle(target, OLD).unchanged == tuple(OLD)


def test_replacing_keeps_what_is_not_part_of_the_bundle(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    (target / "mine.txt").write_text("mine")
    (target / "link").symlink_to("mine.txt")
    inode = (target / "mine.txt").stat().st_ino
    target.chmod(0o750)
    result = write_bundle(target, NEW, overwrite=True)
    assert contents(target) == {**NEW, "mine.txt": "mine", "link": "mine"}
    assert (target / "mine.txt").stat().st_ino == inode
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert set(result.replaced) == set(NEW)
    assert leftovers(target) == []


def test_a_directory_with_folders_in_it_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "bundle" / "folder").mkdir(parents=True)
    (tmp_path / "bundle" / "folder" / "x").write_text("x")
    (tmp_path / "bundle" / "plan.json").write_text("old")
    write_bundle(tmp_path / "bundle", {"plan.json": "new", "serve.sh": "s"}, overwrite=True)
    assert (tmp_path / "bundle" / "plan.json").read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "folder",
        "plan.json",
        "serve.sh",
    ]


def test_the_current_directory_keeps_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    (tmp_path / "plan.json").write_text("old")
    write_bundle(".", {"plan.json": "new"}, overwrite=True)
    assert Path("plan.json").read_text() == "new"
    assert tmp_path.stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_link_to_a_directory_is_followed_and_a_linked_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "real" / "plan.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "bundle").symlink_to("real")
    write_bundle(tmp_path / "bundle", {"plan.json": "new"}, overwrite=True)
    assert (tmp_path / "real" / "plan.json").read_text() == "new"
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert (tmp_path / "bundle").is_symlink()


def test_the_difference_is_shown_for_files_that_would_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, {"a.sh": "one\ntwo\n", "b.json": "{}"})
    found = diff_bundle(target, {"a.sh": "one\n2\n", "b.json": "{}", "c.md": "new"})
    assert list(found) == ["a.sh"]
    assert "-two\n+2\n" in found["a.sh"]
    assert diff_bundle(tmp_path / "missing", {"a.sh": "x"}) == {}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not write"),
    ],
)
@pytest.mark.parametrize("existing", [False, True])
def test_a_disk_that_refuses_leaves_the_old_state_and_one_sentence(
    number: int, words: str, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    if existing:
        write_bundle(target, OLD)
    real = placement._write_file

    def failing(path: Path, content: bytes, mode: int) -> None:
        if path.name.lstrip(".").startswith("file-7"):
            raise OSError(number, os.strerror(number))
        real(path, content, mode)

    monkeypatch.setattr(placement, "_write_file", failing)
    with pytest.raises(WizardError) as caught:
        write_bundle(target, NEW, overwrite=True)
    assert words in str(caught.value)
    assert str(caught.value).endswith("nothing was changed.")
    assert contents(target) == (OLD if existing else {})
    assert leftovers(target) == []


def test_an_error_between_two_renames_puts_the_old_files_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    (target / "folder").mkdir()
    real = Path.replace

    def failing(self: Path, other: Path) -> Path:
        if other.name == "file-5.sh" and ".old" not in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, other)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(WizardError, match="nothing was changed"):
        write_bundle(target, NEW, overwrite=True)
    monkeypatch.undo()
    (target / "folder").rmdir()
    assert contents(target) == OLD


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("x"), "is a file|part of the path"),
        (lambda path: (path.mkdir(), (path / "plan.json").mkdir()), "is a directory"),
        (lambda path: path.symlink_to(path), "loop"),
    ],
)
def test_things_in_the_way_are_named(make: object, words: str, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "bundle")
    with pytest.raises(WizardError, match=words) as caught:
        write_bundle(tmp_path / "bundle", {"plan.json": "x"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_a_name_can_never_leave_the_directory(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        write_bundle(tmp_path / "bundle", {name: "x"})


def test_a_name_with_foreign_bytes_comes_out_as_the_same_bytes(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", {"serve.sh": "caf\udce9"})
    assert (tmp_path / "bundle" / "serve.sh").read_bytes() == b"caf\xe9"
    with pytest.raises(WizardError, match="not valid text"):
        write_bundle(tmp_path / "other", {"serve.sh": "\ud800"})


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    stale, foreign = tmp_path / ".bundle.partial-dead", tmp_path / ".bundle.partial-alive"
    for folder in (stale, foreign):
        folder.mkdir()
        (folder / "x").write_text("x")
    handle = os.open(foreign, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    write_bundle(tmp_path / "bundle", OLD)
    os.close(handle)
    assert not stale.exists()
    assert foreign.exists()


def test_two_exports_at_once_end_in_one_of_the_two_states(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    script = (
        "import json, sys; from wizard.render.writer import write_bundle\n"
        "directory, files = json.load(sys.stdin)\n"
        "for _ in range(10):\n    write_bundle(directory, files, overwrite=True)\n"
    )
    import json

    runs = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for run, files in zip(runs, (OLD, NEW), strict=True):
        threading.Thread(target=run.communicate, args=(json.dumps([str(target), files]),)).start()
    assert [run.wait() for run in runs] == [0, 0]
    assert contents(target) in (OLD, NEW)


KILLED = """
import os, sys
from wizard.render import writer
old, new = ({f"file-{i}.sh": word * 4000 for i in range(12)} for word in ("old ", "new "))
old["only-old.sh"], new["only-new.sh"] = "old ", "new "
os.chdir(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    if os.fork() == 0:
        os.write(1, f"{os.getpid()}\\n".encode())
        while True:
            writer.write_bundle(sys.argv[2], new, overwrite=True)
            writer.write_bundle(sys.argv[2], old, overwrite=True)
    os.wait()
    os.write(1, b"gone\\n")
"""
KILLS = {"plain": 60, "folders": 200, "here": 60}
WHOLE = ({f"file-{index}.sh": word * 4000 for index in range(12)} for word in ("old ", "new "))
OLD_WHOLE, NEW_WHOLE = WHOLE


@pytest.mark.parametrize("kind", ["plain", "folders", "here"])
def test_kill_9_at_random_moments_leaves_the_old_bundle_or_the_new(kind: str, tmp_path: Path) -> None:
    """At random moments, others in every run: in a plain directory, one that holds folders, and the current one."""
    target = tmp_path / "bundle"
    write_bundle(target, {**OLD_WHOLE, "mine.txt": "mine"})
    if kind == "folders":
        (target / "folder" / "deeper").mkdir(parents=True)
        (target / "folder" / "deeper" / "x").write_text("x")
    inode = target.stat().st_ino
    pause = threading.Event()
    where, name = (target, ".") if kind == "here" else (tmp_path, "bundle")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(where), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        for _ in range(KILLS[kind]):
            parent.stdin.write("go\n")
            parent.stdin.flush()
            pid = int(parent.stdout.readline())
            pause.wait(random.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            found = {file: (target / file).read_text() for file in OLD_WHOLE}
            assert found in (OLD_WHOLE, NEW_WHOLE)
            for file, word in (("only-old.sh", "old "), ("only-new.sh", "new ")):
                assert not (target / file).exists() or (target / file).read_text() == word
        parent.stdin.close()
    assert (target / "mine.txt").read_text() == "mine"
    assert (target / "folder" / "deeper" / "x").is_file() == (kind == "folders")
    assert target.stat().st_ino == inode
    write_bundle(target, {"serve.sh": "x"})
    assert leftovers(target) == []
    assert [path for path in target.iterdir() if path.is_symlink() or path.name.startswith(".")] == []


STEPS = 80
"""More renames than one placement makes."""

STOPPED = """
import os, sys
from pathlib import Path
from wizard.render import placement
left = int(sys.argv[2])
def counted(real):
    def step(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*arguments, **named)
    return step
Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)
placement.place(Path(sys.argv[1]), {f"{i}.sh": b"new" for i in range(5)})
"""


def test_stopped_before_any_rename_a_reader_finds_all_old_or_all_new(tmp_path: Path) -> None:
    """Every moment in turn, not only those that chance finds; and the next export leaves no trace of it."""
    seen: set[str] = set()
    for step in range(STEPS):
        target = tmp_path / str(step)
        (target / "folder").mkdir(parents=True)
        for index in range(3):
            (target / f"{index}.sh").write_text("old")
        (target / "linked").write_text("old")
        (target / "2.sh").unlink()
        (target / "2.sh").symlink_to("linked")
        done = subprocess.run([sys.executable, "-c", STOPPED, str(target), str(step)], check=False)
        found = {path.name: path.read_text() for path in sorted(target.glob("*.sh")) if path.exists()}
        assert found in (
            {f"{index}.sh": "old" for index in range(3)},
            {f"{index}.sh": "new" for index in range(5)},
        )
        seen.add(found["0.sh"])
        write_bundle(target, {"serve.sh": "x"})
        names = {path.name for path in target.iterdir()}
        assert names == {*found, "folder", "linked", "serve.sh"}
        assert leftovers(target) == []
        assert (target / "2.sh").is_symlink() == (found["2.sh"] == "old")
        if done.returncode == 0:
            break
    assert seen == {"old", "new"}
    assert step < STEPS - 1


def test_an_empty_mount_point_and_a_full_one(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("a tmpfs may not be mounted here")
    try:
        write_bundle(mount, {"serve.sh": "old\n"})
        with pytest.raises(WizardError, match="no space left"):
            write_bundle(
                mount, {name: text * 20 for name, text in NEW.items()} | {"serve.sh": "new"}, overwrite=True
            )
        assert contents(mount) == {"serve.sh": "old\n"}
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize(
    ("where", "words"),
    [("/proc/foo", "choose another directory"), ("", "name a directory"), ("dangling", "leads nowhere")],
)
def test_where_nothing_can_be_made_is_one_sentence(where: str, words: str, tmp_path: Path) -> None:
    target = tmp_path / where if where == "dangling" else where
    if where == "dangling":
        Path(target).symlink_to(tmp_path / "missing" / "place")
    with pytest.raises(WizardError, match=words) as caught:
        write_bundle(target, {"serve.sh": "x"})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "missing").exists()


def test_a_file_system_without_links_is_written_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    target = tmp_path / "bundle"
    write_bundle(target, OLD)
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(Path, "symlink_to", refused)
    write_bundle(target, NEW, overwrite=True)
    assert contents(target) == NEW
    assert leftovers(target) == []


def test_a_full_tmpfs_never_holds_a_partial_bundle(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("a tmpfs may not be mounted here")
    try:
        fitting = {"serve.sh": "old\n", "plan.json": "{}"}
        write_bundle(mount / "bundle", fitting)
        with pytest.raises(WizardError, match="no space left"):
            write_bundle(mount / "bundle", {name: text * 20 for name, text in NEW.items()}, overwrite=True)
        with pytest.raises(WizardError, match="no space left"):
            write_bundle(mount / "second", {name: text * 20 for name, text in NEW.items()})
        assert contents(mount / "bundle") == fitting
        assert [path.name for path in mount.iterdir()] == ["bundle"]
    finally:
        subprocess.run(["umount", str(mount)], check=True)
