"""A tiny OpenAI-compatible server in a thread: health, chat, completions, embeddings, classification."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class State:
    """What the server was asked, and how it is to behave."""

    def __init__(self, *, key: str | None = None, unhealthy: int = 0, model: str | None = None) -> None:
        self.key = key
        self.unhealthy = unhealthy
        """Health checks to fail first."""
        self.model = model
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.no_chat = False
        """A base model: chat is refused with 400."""
        self.lock = threading.Lock()
        self.running = 0
        self.most_at_once = 0


@contextmanager
def serving(state: State) -> Iterator[str]:
    """The base URL while the server runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with state.lock:
                state.unhealthy -= 1
                healthy = state.unhealthy < 0
            self.answer(200 if self.path == "/health" and healthy else 503, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.key is not None and self.headers.get("Authorization") != f"Bearer {state.key}":
                self.answer(401, {"error": "Unauthorized"})
                return
            if state.model is not None and body["model"] != state.model:
                self.answer(404, {"error": f"The model {body['model']} does not exist."})
                return
            if state.no_chat and "messages" in body:
                self.answer(400, {"error": "the model has no chat template"})
                return
            with state.lock:
                state.requests.append((self.path, body))
                state.running += 1
                state.most_at_once = max(state.most_at_once, state.running)
            usage = {"prompt_tokens": 7, "completion_tokens": body.get("max_tokens", 0), "total_tokens": 9}
            self.answer(
                200, {"id": "x", "choices": [{"text": 'a "completion_tokens" quote'}], "usage": usage}
            )
            with state.lock:
                state.running -= 1

        def answer(self, status: int, document: dict[str, Any]) -> None:
            raw = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
