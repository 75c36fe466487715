"""One look-up's way to the hub: the client's own session, bounded in time and size, retried where it helps.

`HfApi`'s methods are not used: a search of theirs has no timeout, waits out as many seconds as a server
asks for, and writes its retries to the terminal. Their session, headers, proxies and login are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from huggingface_hub import __version__ as client_version
from huggingface_hub import constants, get_session, get_token
from huggingface_hub.errors import OfflineModeIsEnabled

from wizard.dataclass import dataclass, replace
from wizard.models.config_values import short
from wizard.models.hub_errors import (
    Asked,
    RefusedError,
    UnreadableError,
    client_unusable,
    http,
    in_words,
    login_unusable,
    makes_no_sense,
)
from wizard.models.hub_settings import endpoint, forbidden
from wizard.models.traffic import Traffic

DEADLINE_S = 60.0
"""For one answer, however it drips; a header of 0.5 MB takes 40 s at 100 kbit/s."""

PAUSES_S = (0.25, 0.5, 1.0)
"""Before the second, third and fourth try."""

LONGEST_PAUSE_S = 5.0
"""A hub that asks for a longer wait is told to the user instead."""

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may change."""

LARGEST_SMALL_FILE = 4 << 20
"""config.json and its like are kilobytes."""

LARGEST_LISTING = 16 << 20
"""The largest repositories list some ten thousand files, at 150 bytes each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    body: bytes
    next_url: str | None = None
    """The next page of a listing."""


class Connection:
    """Asks one hub about one model; what it receives is counted in `traffic`."""

    def __init__(self, model: str, revision: str | None = None, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self.endpoint = endpoint()
        timeout_s = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        self.asked = Asked(self.endpoint, model, revision, timeout_s=timeout_s)
        self._headers = {"user-agent": f"vllm-wizard-tui; hf_hub/{client_version}"}

    @contextmanager
    def words(self) -> Iterator[None]:
        """Inside, whatever goes wrong becomes ModelUnavailableError, one sentence; needed around every `get`."""
        with in_words(self.asked):
            if forbidden():
                raise OfflineModeIsEnabled
            self._log_in()
        with in_words(self.asked):  # which knows by now whether there is a login
            yield

    def _log_in(self) -> None:
        try:
            token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        except (OSError, ValueError) as error:
            raise login_unusable(self.asked, error) from error
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise login_unusable(self.asked, "the token holds characters that none has")
            self._headers["authorization"] = f"Bearer {token}"
            self.asked = replace(self.asked, logged_in=True)

    def listing(
        self, path: str, what: str, params: Mapping[str, Any] | None = None
    ) -> tuple[Any, str | None]:
        """Parsed JSON of one page of the API, and the address of the next; `path` may be such an address."""
        url = path if path.startswith(f"{self.endpoint}/") else f"{self.endpoint}/{path}"
        answer = self._get(url, what, params=params, most=LARGEST_LISTING)
        try:
            return json.loads(answer.body), answer.next_url
        except (ValueError, RecursionError) as error:
            raise makes_no_sense(self.asked, f"the {what}") from error

    def small_file(self, model: str, commit: str, name: str) -> Mapping[str, Any]:
        """A JSON object of the repository. Raises ModelUnavailableError where it is none."""
        answer = self._get(self._file(model, commit, name), name, most=LARGEST_SMALL_FILE)
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            if answer.body.lstrip()[:1] == b"<":
                raise makes_no_sense(self.asked, name) from error
            raise UnreadableError(
                f"{name} of {self.asked.shown} is not valid JSON on the hub; try another --revision, "
                "or tell its authors."
            ) from error
        if not isinstance(value, dict):
            raise UnreadableError(
                f"{name} of {self.asked.shown} must hold an object, not {short(value)}; try another --revision."
            )
        return value

    def bytes_of(self, model: str, commit: str, name: str, first: int, count: int, what: str) -> bytes:
        """`count` bytes of a file from `first` on, or fewer at its end; a hub that ignores ranges is cut off."""
        headers = {"range": f"bytes={first}-{first + count - 1}", "accept-encoding": "identity"}
        return self._get(
            self._file(model, commit, name), what, headers=headers, first=first, count=count
        ).body

    def _file(self, model: str, commit: str, name: str) -> str:
        return f"{self.endpoint}/{model}/resolve/{quote(commit, safe='')}/{quote(name)}"

    def _get(self, url: str, what: str, **wanted: Any) -> Answer:
        """One answer, after as many tries as may help."""
        for pause in PAUSES_S:
            try:
                return self._once(url, what, **wanted)
            except RefusedError as error:
                wait = pause if error.retry_after_s is None else error.retry_after_s
                if error.status not in PASSING or wait > LONGEST_PAUSE_S:
                    raise
            except (http.ReadError, http.WriteError, http.RemoteProtocolError):
                wait = pause
            self.traffic.pause(wait)
        return self._once(url, what, **wanted)

    def _once(
        self,
        url: str,
        what: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
        first: int = 0,
        count: int = 0,
    ) -> Answer:
        """One request. `most` bytes are taken, else it is no such file; or `count` bytes from `first` on."""
        deadline = time.monotonic() + DEADLINE_S
        self.traffic.request(what)
        with self._session().stream(
            "GET",
            url,
            params=params,
            headers={**self._headers, **(headers or {})},
            timeout=self.asked.timeout_s,
            follow_redirects=True,
        ) as response:
            self.traffic.redirected(len(response.history))
            status = response.status_code
            if status == 416:
                return Answer(b"")
            if status >= 400:
                raise _refusal(response)
            if most is not None and _declared_bytes(response) > most:
                raise self._too_large(what, most)
            skip = first if status == 200 else 0
            end = skip + count if most is None else most
            whole = status == 206 or most is not None  # read to its end, so that the connection is kept
            body = bytearray()
            counted = 0
            for chunk in response.iter_bytes():
                self.traffic.check()
                self.traffic.receive(response.num_bytes_downloaded - counted)
                counted = response.num_bytes_downloaded
                body += chunk
                if len(body) > end or (len(body) == end and not whole):
                    break
                if time.monotonic() > deadline:
                    raise http.ReadTimeout(f"{what} took more than {DEADLINE_S:.0f} s")
        self.traffic.tell()
        if most is not None and len(body) > most:
            raise self._too_large(what, most)
        return Answer(bytes(body[skip:end]), self._next_page(response))

    def _too_large(self, what: str, most: int) -> UnreadableError:
        return UnreadableError(
            f"{what} of {self.asked.shown} is over {most >> 20} MB on the hub, far beyond any real one; "
            "try another --revision."
        )

    def _session(self) -> Any:
        try:
            return get_session()
        except (ImportError, OSError, ValueError) as error:
            raise client_unusable(self.asked, error) from error

    def _next_page(self, response: Any) -> str | None:
        """The address of the next page; never one on another host, which would be sent the token."""
        url = response.links.get("next", {}).get("url")
        return url if isinstance(url, str) and url.startswith(f"{self.endpoint}/") else None


def _declared_bytes(response: Any) -> int:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def _refusal(response: Any) -> RefusedError:
    wait = response.headers.get("retry-after", "").strip()
    return RefusedError(
        response.status_code,
        response.headers.get("x-error-code", ""),
        response.headers.get("x-error-message", ""),
        float(wait) if wait.isdecimal() and len(wait) < 7 else None,
    )
