"""Real terminals and links: their names, sizes, character sets, tmux, and a real sshd."""

from __future__ import annotations

import getpass
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys.conftest import Start
from tests.terminal import DEADLINE_S, Terminal

pytestmark = pytest.mark.journey


def walk(terminal: Terminal) -> None:
    """All five screens, one answer, and out."""
    terminal.wait_for("Fits")
    for number, sight in (("2", "Taken"), ("3", "Concurrency"), ("4", "Utilisation"), ("5", "Directory")):
        terminal.press(number)
        terminal.wait_for(lambda text, sight=sight: sight in text and "Fits" in text)
    terminal.press("escape")
    terminal.wait_for("Utilisation")
    terminal.press("right")
    terminal.wait_for(lambda text: "* throughput" in text or "● throughput" in text or "■ throughput" in text)
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0


@pytest.mark.parametrize("term", ["xterm-256color", "tmux-256color", "screen", "linux", "vt100", "xterm"])
def test_every_kind_of_terminal(start: Start, term: str) -> None:
    walk(start("fresh", changes={"TERM": term}))


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (200, 60)])
def test_every_size(start: Start, size: tuple[int, int]) -> None:
    walk(start("fresh", size=size))


@pytest.mark.parametrize("changes", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "TERM": "vt100"}])
def test_a_plain_locale_gets_plain_ascii(start: Start, changes: dict[str, str]) -> None:
    terminal = start("fresh", changes=changes)
    walk(terminal)
    assert terminal.output.isascii()


def test_no_color_sends_no_colour(start: Start) -> None:
    terminal = start("fresh", changes={"NO_COLOR": "1"})
    walk(terminal)
    assert b"38;" not in terminal.output
    assert b"48;" not in terminal.output


def test_without_the_mouse_nothing_is_asked_of_it(start: Start) -> None:
    terminal = start("fresh", "no-mouse")
    walk(terminal)
    assert b"\x1b[?1003h" not in terminal.output


def test_resizing_at_any_moment(start: Start) -> None:
    terminal = start("fresh")
    terminal.wait_for("Fits")
    terminal.press("3")
    for size in ((60, 16), (200, 60), (40, 8), (100, 30), (80, 24)):
        terminal.resize(*size)
        terminal.press("tab", "right")
        terminal.settle(0.2)
    terminal.resize(80, 24)
    terminal.wait_for("Concurrency")
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0


def test_inside_tmux(environment: dict[str, str], tmp_path: Path) -> None:
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed")
    server = [tmux, "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    program = f"exec {sys.executable} -m tests.tui.fake_wizard fresh"
    command = [*server, "-u", "new-session", "-x", "80", "-y", "24", program]
    with Terminal(command, environment=environment, directory=tmp_path) as terminal:
        terminal.wait_for("Fits")
        for number, sight in (("3", "Concurrency"), ("4", "Utilisation"), ("5", "Directory")):
            terminal.press(number)
            terminal.wait_for(sight)
        terminal.press("ctrl+q")
        terminal.wait_exit()
    subprocess.run([*server, "kill-server"], capture_output=True, check=False, timeout=DEADLINE_S)


@pytest.fixture
def sshd(tmp_path: Path, environment: dict[str, str]) -> Iterator[list[str]]:
    """A real sshd of our own on loopback; the ssh command line that reaches it."""
    daemon, client, keygen = (
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("sshd", "ssh", "ssh-keygen")
    )
    if daemon is None or client is None or keygen is None:
        pytest.skip("OpenSSH is not installed")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": folder / "pid",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "UsePAM": "no",
        "AcceptEnv": "LANG LC_*",
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([daemon, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE)
    assert process.stderr is not None
    line = b""
    while b"Server listening" not in line:
        assert select.select([process.stderr], [], [], DEADLINE_S)[0], "sshd does not say that it listens"
        line = process.stderr.readline()
        assert line, "sshd did not start"
    options = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={folder / 'known'}", "LogLevel=ERROR")
    yield [
        client,
        "-tt",
        "-p",
        str(port),
        "-i",
        str(folder / "user"),
        *(word for each in options for word in ("-o", each)),
        f"{getpass.getuser()}@127.0.0.1",
    ]
    process.terminate()
    process.wait(DEADLINE_S)
    process.stderr.close()


def remote(environment: dict[str, str], *arguments: str) -> str:
    """The command that sshd's shell runs: with our environment, in our repository's Python."""
    wanted = ("HOME", "XDG_STATE_HOME", "PYTHONPATH", "LANG")
    variables = " ".join(f"{name}={environment[name]}" for name in wanted)
    program = f"{sys.executable} -m tests.tui.fake_wizard {' '.join(arguments)}"
    return f"cd {environment['HOME']} && env {variables} {program}"


@pytest.mark.parametrize("term", ["xterm-256color", "tmux-256color", "screen", "linux", "vt100"])
def test_over_a_real_sshd(sshd: list[str], environment: dict[str, str], term: str) -> None:
    command = [*sshd, remote(environment, "fresh")]
    with Terminal(command, environment=environment | {"TERM": term}) as terminal:
        walk(terminal)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A tmux server of our own: the shell words that give it a command."""
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("tmux is not installed")
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket has to be short
        server = [program, "-u", "-S", f"{folder}/socket", "-f", str(tmp_path / "tmux.conf")]
        (tmp_path / "tmux.conf").write_text("set -g status off\nset -g default-terminal tmux-256color\n")
        yield lambda command: f"{shlex.join(server)} {command}"
        subprocess.run([*server, "kill-server"], capture_output=True, check=False, timeout=DEADLINE_S)


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 60)])
def test_over_a_real_sshd_inside_tmux(
    sshd: list[str], tmux: Callable[[str], str], environment: dict[str, str], size: tuple[int, int]
) -> None:
    inside = tmux(f"new-session {shlex.quote(remote(environment, 'fresh'))}")
    with Terminal([*sshd, inside], environment=environment, size=size) as terminal:
        terminal.wait_for("Fits")
        terminal.resize(60, 16)
        # what only the narrow layout shows: the emulator's own cut of the old screen still has the old key bar,
        # and tmux, told of two sizes at once, has nothing to draw anew
        terminal.wait_for("✓ Fits   tp 1")
        terminal.resize(*size)
        terminal.wait_for(lambda _: "F1 help" in terminal.lines[-1] and "^p commands" in terminal.lines[-1])
        walk(terminal)


def test_what_runs_in_tmux_outlives_its_link(
    sshd: list[str], tmux: Callable[[str], str], environment: dict[str, str]
) -> None:
    inside = tmux(f"new-session -s wizard {shlex.quote(remote(environment))}")
    with Terminal([*sshd, inside], environment=environment) as terminal:
        terminal.wait_for("Fits")
        terminal.press("3", "tab", "tab", "tab", "right")
        terminal.wait_for("12 of 349")
        terminal.send_signal(9)
        terminal.wait_exit()
    with Terminal([*sshd, tmux("attach-session -t wizard")], environment=environment) as again:
        again.wait_for("12 of 349")
        again.press("right")
        again.wait_for("16 of 349")
        again.press("ctrl+q")
        again.wait_exit()


def test_a_link_that_drops_is_taken_up_again(sshd: list[str], environment: dict[str, str]) -> None:
    with Terminal([*sshd, remote(environment)], environment=environment) as terminal:
        terminal.wait_for("Fits")
        terminal.press("3", "tab", "tab", "tab", "right")
        terminal.wait_for("12 of 349")
        terminal.send_signal(9)
        terminal.wait_exit()
    with Terminal([*sshd, remote(environment)], environment=environment) as again:
        again.wait_for(lambda text: "Continue where you left off?" in text or "Fits" in text)
        again.settle(0.5)
        assert "Continue where you left off?" in again.text
        again.press("enter")
        again.wait_for("12 of 349")
