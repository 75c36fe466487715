"""The hub's protocol: search with pages, a repository's page, files by range, gates, and failures on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.hub.repository import Repository

LOGIN_PAGE = b"<!DOCTYPE html><html><title>Welcome to the hotel's network</title></html>"


@dataclass(frozen=True)
class Seen:
    """One request that came in."""

    path: str
    range: str | None
    token: str | None
    sent_bytes: int
    """Of the body."""


@dataclass
class FakeHub:
    """The hub, running between `with` and its end. What is set on it counts from the next request on."""

    repositories: list[Repository] = field(default_factory=list)
    users: Mapping[str, str] = field(default_factory=dict)
    """Token -> user."""
    page_size: int = 1000
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers, first one first; 0 drops the connection."""
    failing: int | None = None
    """Status of every answer."""
    retry_after: str | None = None
    login_page: bool = False
    """Every answer is a web page, as behind a captive portal."""
    hangs: bool = False
    """No answer comes until the hub ends."""
    drips: bool = False
    """Bodies come a byte at a time until the hub ends, and never to their end."""
    cdn: bool = False
    """Weights are redirected to, as the hub does."""
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> FakeHub:
        self.ended = threading.Event()
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def sent_bytes(self) -> int:
        """Of all bodies."""
        return sum(each.sent_bytes for each in self.seen)

    def find(self, name: str) -> Repository | None:
        """A repository by its exact name."""
        return next((each for each in self.repositories if each.id == name), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        super().__init__(status)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.sent = 0
        try:
            self._answer()
        except _Refused as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message, **refusal.headers}
            body = json.dumps({"error": refusal.message}).encode()
            self._send(refusal.status, body, {name: value for name, value in headers.items() if value})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            token = self.headers.get("Authorization")
            self.hub.seen.append(Seen(self.path, self.headers.get("Range"), token, self.sent))

    def _answer(self) -> None:
        hub = self.hub
        if hub.hangs:
            hub.ended.wait()
            raise BrokenPipeError
        if hub.login_page:
            self._send(200, LOGIN_PAGE, {"Content-Type": "text/html"})
            return
        status = hub.failures.pop(0) if hub.failures else hub.failing
        if status == 0:
            raise BrokenPipeError
        if status is not None:
            headers = {} if hub.retry_after is None else {"Retry-After": hub.retry_after}
            raise _Refused(status, message="out of order", **headers)
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if path == "/api/models":
            self._search(query)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            repository, commit = self._open(match[1], match[2] or "main")
            self._json(repository.info(commit))
        elif match := re.fullmatch(r"(/cdn)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[2], match[3], match[4], behind_cdn=bool(match[1]))
        else:
            raise _Refused(404)

    def _user(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.hub.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return user

    def _open(self, name: str, revision: str, *, files: bool = False) -> tuple[Repository, str]:
        user = self._user()
        repository = self.hub.find(name)
        if repository is None or (repository.private and user not in repository.members):
            raise _Refused(404 if user else 401, "RepoNotFound", "Repository not found")
        if repository.moved_to is not None:
            raise _Refused(307, Location=self.path.replace(name, repository.moved_to))
        if repository.disabled:
            raise _Refused(403, message="Access to this resource is disabled.")
        commit = repository.commit(revision)
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if files and repository.gated and user not in repository.members:
            raise _Refused(403 if user else 401, "GatedRepo", f"Access to model {name} is restricted.")
        return repository, commit

    def _search(self, query: Mapping[str, list[str]]) -> None:
        user = self._user()
        words = query.get("search", [""])[0].lower().split()
        wanted = query.get("filter", [])
        found = [
            each
            for each in self.hub.repositories
            if all(word in each.id.lower() for word in words)
            and all(tag in each.tags for tag in wanted)
            and (not each.private or user in each.members)
        ]
        found.sort(key=lambda each: -each.downloads)
        start = int(query.get("cursor", ["0"])[0])
        end = start + min(self.hub.page_size, int(query.get("limit", ["1000"])[0]))
        headers = {}
        if end < len(found):
            following = urlencode({**query, "cursor": [str(end)]}, doseq=True)
            headers["Link"] = f'<{self.hub.url}/api/models?{following}>; rel="next"'
        keys = {"id", "modelId", *query.get("expand", [])}
        rows = (each.info(each.branches["main"]) for each in found[start:end])
        self._json([{key: value for key, value in row.items() if key in keys} for row in rows], headers)

    def _file(self, name: str, revision: str, path: str, *, behind_cdn: bool) -> None:
        repository, _ = self._open(name, revision, files=True)
        file = repository.files.get(path)
        if file is None:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        if self.hub.cdn and not behind_cdn and path.endswith(".safetensors"):
            raise _Refused(302, Location=f"{self.hub.url}/cdn{self.path}")
        first, end, status, headers = 0, file.size, 200, {"Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if match and not repository.ignores_ranges:
            first, end = int(match[1]), min(file.size, int(match[2]) + 1)
            if first >= file.size:
                raise _Refused(416)
            status, headers["Content-Range"] = 206, f"bytes {first}-{end - 1}/{file.size}"
        broken = repository.cut.get(path)
        if broken is not None:
            self.close_connection = True
        self._send(status, self._pieces(file, first, end, broken), headers, length=end - first)

    @staticmethod
    def _pieces(file: Any, first: int, end: int, broken: int | None) -> Iterable[bytes]:
        end = end if broken is None else min(end, broken)
        return (file.read(start, min(end, start + (1 << 16))) for start in range(first, end, 1 << 16))

    def _json(self, value: object, headers: Mapping[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), headers or {})

    def _send(
        self,
        status: int,
        body: bytes | Iterable[bytes],
        headers: Mapping[str, str],
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if isinstance(body, bytes) else length))
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for piece in [body] if isinstance(body, bytes) else body:
            if self.hub.drips:
                self.wfile.write(piece[:1])
                self.wfile.flush()
                self.hub.ended.wait()
                raise BrokenPipeError
            self.wfile.write(piece)
            self.sent += len(piece)
