"""Answers outlive the wizard: saved whole, found again, never overwritten by another wizard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.session import LARGEST_BYTES, Session, SessionStore, state_directory
from wizard.wording import first_request

REQUEST = first_request().with_value("workload.concurrency", 77)


def saved(directory: Path, session: Session | None = None) -> Path:
    """The file of one finished wizard."""
    store = SessionStore(directory)
    assert store.save(session or Session(step="policy", request=REQUEST))
    store.release()
    return directory / "session.json"


def test_the_next_start_finds_the_same_screen_and_values(tmp_path: Path) -> None:
    saved(tmp_path, Session(step="policy", request=REQUEST, directory="./x", unticked=("plan.json",)))
    found = SessionStore(tmp_path).find()
    assert found is not None
    assert found.session == Session(step="policy", request=REQUEST, directory="./x", unticked=("plan.json",))


def test_it_lives_in_the_xdg_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "vllm-wizard-tui"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/not/allowed")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "vllm-wizard-tui"


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert SessionStore(tmp_path / "absent").find() is None
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"session"',
        b"\xff\xfe\x00",
        b'{"request": {"model": {"model": ""}}}',
        b'{"request": {"model": {"model": "m"}}, "unknown": 1}',
        b'{"request": {"model": {"model": "m"}, "workload": {"concurrency": -5}}}',
        b"[" * 100_000,
        b" " * (LARGEST_BYTES + 1),
    ],
)
def test_a_file_that_is_no_session_is_set_aside_and_kept(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "session.json").write_bytes(contents)
    store = SessionStore(tmp_path)
    assert store.find() is None
    assert [path.read_bytes() for path in store.set_aside] == [contents]
    assert store.save(Session(request=REQUEST))
    assert store.set_aside[0].read_bytes() == contents


def test_a_newer_wizards_file_is_set_aside_by_that_name(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text(json.dumps({"format": 2, "anything": "else"}))
    store = SessionStore(tmp_path)
    assert store.find() is None
    assert "newer" in store.set_aside[0].name
    assert "was saved by a newer wizard" in store.set_aside_words
    assert str(store.set_aside[0]) in store.set_aside_words


def test_what_is_found_goes_through_what_this_start_says(tmp_path: Path) -> None:
    saved(tmp_path)
    found = SessionStore(tmp_path).find(lambda request: request.with_value("hardware.gpus", 4))
    assert found is not None
    assert (found.session.request.hardware.gpus, found.session.request.workload.concurrency) == (4, 77)


def test_an_unreadable_file_does_not_hide_an_older_good_one(tmp_path: Path) -> None:
    good = saved(tmp_path)
    os.utime(good, ns=(1, 1))
    (tmp_path / "session-2.json").write_text("not json")
    found = SessionStore(tmp_path).find()
    assert found is not None
    assert found.path == good


def test_two_wizards_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first, second = SessionStore(tmp_path), SessionStore(tmp_path)
    assert first.save(Session(request=REQUEST))
    assert second.find() is None
    assert second.save(Session(request=REQUEST.with_value("workload.concurrency", 2)))
    assert first.save(Session(request=REQUEST.with_value("workload.concurrency", 3)))
    kept = sorted(
        json.loads(path.read_text())["request"]["workload"]["concurrency"] for path in tmp_path.glob("*.json")
    )
    assert kept == [2, 3]


def test_a_killed_wizards_slot_is_free_again(tmp_path: Path) -> None:
    program = (
        "import os, sys, signal; from pathlib import Path\n"
        "from wizard.session import *; from wizard.wording import first_request\n"
        "store = SessionStore(Path(sys.argv[1])); store.save(Session(request=first_request()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    repository = Path(__file__).resolve().parents[1]
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=repository, check=False)
    assert ended.returncode == -9
    assert SessionStore(tmp_path).find() is not None


def test_a_fresh_start_forgets_the_oldest_slot_only_when_all_are_taken(tmp_path: Path) -> None:
    saved(tmp_path)
    fresh = SessionStore(tmp_path)
    assert fresh.save(Session(request=first_request()))
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["session-2.json", "session.json"]


def test_a_failed_save_says_why_and_keeps_the_old_file(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    assert store.save(Session(request=REQUEST))
    before = (tmp_path / "session.json").read_text()
    blocked = SessionStore(tmp_path / "session.json" / "below")
    assert not blocked.save(Session(request=REQUEST))
    assert "can't be saved" in blocked.trouble
    assert (tmp_path / "session.json").read_text() == before


def test_no_half_written_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SessionStore(tmp_path)
    assert store.save(Session(request=REQUEST))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not store.save(Session(request=first_request()))
    assert "No space left on device" in store.trouble
    assert {path.name for path in tmp_path.iterdir()} == {"session.json", "session.lock"}
    assert json.loads((tmp_path / "session.json").read_text())["request"]["workload"]["concurrency"] == 77
