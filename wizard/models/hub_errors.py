"""Every way in which the hub can fail, as one sentence with the next step."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from huggingface_hub import errors as client_errors
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from wizard.dataclass import dataclass
from wizard.errors import ModelUnavailableError
from wizard.models import catalogue
from wizard.models.config_values import short
from wizard.models.hub_settings import UNREACHED, place

http: Any = import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
"""The client's own HTTP library, httpx or its successor by the client's version; same names of errors."""

LOGIN = "run `hf auth login` or set HF_TOKEN"


class UnreachableError(ModelUnavailableError):
    """The hub could not be asked at all; what was read earlier still holds."""


class UnreadableError(ModelUnavailableError):
    """The hub answered with something that is not what it should be."""


class RefusedError(Exception):
    """The hub answered with an error status."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which hub, for the sentence."""

    endpoint: str
    model: str
    revision: str | None = None
    logged_in: bool = False
    timeout_s: float = 10.0

    @property
    def shown(self) -> str:
        return short(self.model, 80)

    @property
    def place(self) -> str:
        return place(self.endpoint)


@contextmanager
def in_words(asked: Asked) -> Iterator[None]:
    """Turns every failure of the client into ModelUnavailableError."""
    try:
        yield
    except RefusedError as error:
        _refused(asked, error)
    except OfflineModeIsEnabled as error:
        raise UnreachableError(forbidden_in_words(asked.shown)) from error
    except _LOGIN_ERRORS as error:
        raise login_unusable(asked, error) from error
    except http.TimeoutException as error:
        raise UnreachableError(
            f"{asked.shown}: the hub did not answer within {asked.timeout_s:.0f} s; try again, or use --offline."
        ) from error
    except http.ProxyError as error:
        raise UnreachableError(
            f"{asked.shown}: the proxy refuses to connect to {asked.place}; check HTTPS_PROXY and HTTP_PROXY."
        ) from error
    except http.ConnectError as error:
        raise UnreachableError(f"{asked.shown}: {_connection_in_words(asked, error)}.") from error
    except http.HTTPError as error:
        raise UnreachableError(
            f"{asked.shown}: the connection to the hub broke off; try again, or use --offline."
        ) from error


_LOGIN_ERRORS: tuple[type[Exception], ...] = tuple(
    getattr(client_errors, name)
    for name in ("OIDCError", "LocalTokenNotFoundError")
    if hasattr(client_errors, name)
)
"""By the client's version."""


def client_unusable(asked: Asked, why: Exception) -> UnreachableError:
    """The client reads proxies and certificates when it is made, and some settings break it."""
    settings = (
        "SSL_CERT_FILE and SSL_CERT_DIR"
        if isinstance(why, OSError)
        else "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
    )
    return UnreachableError(
        f"{asked.shown}: the hub's client can't be set up ({short(str(why), 100)}); check {settings}."
    )


def login_unusable(asked: Asked, why: object) -> ModelUnavailableError:
    """The token can't be read or sent."""
    return ModelUnavailableError(
        f"{asked.shown}: the stored login can't be used ({short(str(why), 80)}); {LOGIN}."
    )


def forbidden_in_words(shown: str) -> str:
    """HF_HUB_OFFLINE is set and nothing local knows the model."""
    return (
        f"HF_HUB_OFFLINE forbids the hub, and {shown} is neither cached nor in the catalogue: "
        "unset it, or give a directory."
    )


def makes_no_sense(asked: Asked, what: str) -> UnreadableError:
    """The answer is not of the hub's form: a login page in between, or another server."""
    return UnreadableError(
        f"{asked.shown}: {what} from {asked.place} is not what a hub answers; a login page may be in between "
        "(open a browser), or HF_ENDPOINT is wrong."
    )


def _connection_in_words(asked: Asked, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the hub's certificate can't be verified; check the clock, the proxy and SSL_CERT_FILE"
        if isinstance(cause, ssl.SSLError):
            return f"{asked.place} doesn't speak TLS as it should; check HF_ENDPOINT and the proxy"
        cause = cause.__cause__ or cause.__context__
    proxy = _proxy(asked.endpoint)
    if proxy is not None:
        name, place = proxy
        return f"{asked.place} can't be reached through the proxy {place}; check {name}, or use --offline"
    return f"{asked.place} {UNREACHED}"


def _proxy(endpoint: str) -> tuple[str, str] | None:
    """The variable and the address, without a password, of the proxy that stands before the hub."""
    parts = urlsplit(endpoint)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies_environment()
    kind = parts.scheme if parts.scheme in proxies else "all"
    address = proxies.get(kind)
    if not address:
        return None
    return f"{kind.upper()}_PROXY", short(address.rpartition("@")[2].rpartition("//")[2], 60).strip("'")


def _refused(asked: Asked, error: RefusedError) -> NoReturn:
    if error.status == 429:
        after = f"in {error.retry_after_s:.0f} s" if error.retry_after_s else "in a minute"
        raise UnreachableError(
            f"{asked.shown}: the hub asks for fewer requests (status 429); try again {after}, "
            "or log in with `hf auth login` for a higher limit."
        ) from error
    sentence = _why_not(asked, error)
    if sentence is None:
        raise UnreachableError(
            f"{asked.shown}: the hub answers with status {error.status}; try again in a minute, or use --offline."
        ) from error
    raise ModelUnavailableError(f"{asked.shown} {sentence}.") from error


def _why_not(asked: Asked, error: RefusedError) -> str | None:
    """What the hub has against this model or login; None where the hub itself fails."""
    match error.code, error.status:
        case "GatedRepo", _:
            return _gated(asked)
        case "RevisionNotFound", _:
            return f"has no revision {short(asked.revision, 60)}; check the branch, tag or commit"
        case "EntryNotFound", _:
            return "lacks a file that it lists; try again, or another --revision"
        case _, 401 if "credential" in error.message.lower():
            return "is not shown, because the hub refuses this token; run `hf auth login` again or correct HF_TOKEN"
        case "RepoNotFound", _:
            return _not_found(asked)
        case _, 401:
            return _not_found(asked)
        case _, 403 if "disabled" in error.message.lower():
            return "is disabled on the hub; choose another model"
        case _, 403:
            return "is forbidden to this login; check the token's permissions, or log in with another"
        case _, 404:
            return f"is unknown to {asked.place}; check the spelling, and HF_ENDPOINT if it is set"
    return None


def _gated(asked: Asked) -> str:
    page = f"{asked.place}/{asked.model}"
    if asked.logged_in:
        return f"is gated and this login has no access yet: ask for it at {page}, or log in as someone who has it"
    return f"is gated: accept its terms at {page}, then {LOGIN}"


def _not_found(asked: Asked) -> str:
    near = get_close_matches(asked.model.lower(), catalogue.models(), n=1, cutoff=0.85)
    hint = (
        f"look at {catalogue.models()[near[0]].id}"
        if near and near[0] != asked.model.lower()
        else "check the spelling"
    )
    if asked.logged_in:
        return f"is not on the hub, or this login may not see it: {hint}"
    return f"is not on the hub, or private: {hint}, or {LOGIN} to see a private one"
