"""What the environment says about the hub, by the hub client's own rules. Loads nothing of the client."""

from __future__ import annotations

import os

from wizard.errors import WizardError
from wizard.hub_cache import cache_folder, cache_folder_name

__all__ = [
    "DEFAULT_ENDPOINT",
    "TIMEOUTS",
    "UNREACHED",
    "cache_folder",
    "cache_folder_name",
    "cached",
    "endpoint",
    "forbidden",
    "nameless",
    "place",
]

DEFAULT_ENDPOINT = "https://huggingface.co"


TIMEOUTS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
"""Seconds; the client can't even be imported where they are no numbers."""


def endpoint() -> str:
    """The hub to ask: HF_ENDPOINT as it is now, else Hugging Face's.

    Raises WizardError where a setting would break the client; ask for it before importing that.
    """
    for name in TIMEOUTS:
        value = os.environ.get(name)
        if value and not value.strip().isdecimal():
            raise WizardError(f"{name} is {value!r}; write whole seconds, or unset it.")
    value = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    if value == DEFAULT_ENDPOINT:
        return value
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable():
        raise WizardError(f"HF_ENDPOINT is {value!r}; write it like {DEFAULT_ENDPOINT}.")
    return value


def place(address: str) -> str:
    """The hub's address without the password that it may hold."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})

UNREACHED = "can't be reached; check the network or HF_ENDPOINT, or use --offline"
"""Said of a hub, after its place."""


def nameless() -> bool:
    """Whether no name server knows the hub, as without a network; the client, slow to load, would say no more.

    A server that doesn't answer is asked once more. Where a proxy may know the hub, it counts as known.
    """
    import socket
    from urllib.parse import urlsplit

    if any(value and name.lower() in PROXIES for name, value in os.environ.items()):
        return False
    host = urlsplit(endpoint()).hostname
    for again in (True, False):
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN and again:
                continue
            return True
        except (OSError, UnicodeError):
            return False
        return False
    return True


def forbidden() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def cached(model: str) -> bool:
    """Whether the hub client has begun to keep `model`."""
    name = "models--" + model.replace("/", "--")
    return os.path.isdir(f"{cache_folder_name()}/{name}")  # noqa: PTH112 - no pathlib
