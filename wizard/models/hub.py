"""The Hugging Face hub, through its own client: search, facts without weights, quantised siblings.

HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE, proxies and the stored login work as everywhere, because
the client's own session and headers are used. What is read of a model is its config, a few small JSON
files and the headers of its safetensors files, by range requests; kept on disk by commit.
"""

from __future__ import annotations

import json
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models import facts_cache
from wizard.models.local import LARGEST_HEADER_BYTES, parse_safetensors_header
from wizard.models.metadata import Checkpoint, ModelMetadata, TensorInfo, metadata_from_config, short
from wizard.models.search import FoundModel

http: Any = import_module(type(get_session()).__module__.partition(".")[0])
"""The client's own HTTP library, httpx or its successor by the client's version: same names of errors."""

TIMEOUT_S = 10.0
"""Until the hub counts as silent; a search is typed again sooner than that."""

FIRST_BYTES = 32 << 10
"""Read at once of every safetensors file: the whole header of most, the start of the rest."""

TRAFFIC_LIMIT_BYTES = 20 << 20
"""Headers of a 600 GB model take about 10 MB; beyond this the architecture has to do."""

LARGEST_SMALL_FILE = 4 << 20
"""config.json and its like are kilobytes."""

CONNECTIONS = 8

SMALL_FILES = ("hf_quant_config.json", "tokenizer_config.json")


class CancelledError(Exception):
    """The user went on to something else; nothing is shown."""


@dataclass(slots=True)
class Traffic:
    """What one look at a model has cost so far; `cancel` stops it at the next request."""

    received_bytes: int = 0
    requests: int = 0
    doing: str = ""
    report: Callable[[Traffic], None] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, size: int, doing: str) -> None:
        """Adds one answer and tells whoever watches."""
        with self.lock:
            self.received_bytes += size
            self.requests += 1
            self.doing = doing
        if self.report is not None:
            self.report(self)

    def check(self) -> None:
        """Raises CancelledError once the user has turned away."""
        if self.cancelled.is_set():
            raise CancelledError


def search(text: str, *, limit: int = 50) -> list[FoundModel]:
    """Models of the hub that match `text`, most downloaded first.

    Raises ModelUnavailableError in one sentence when the hub can't be asked.
    """
    with _in_words(text):
        found = HfApi().list_models(
            search=text,
            sort="downloads",
            limit=limit,
            expand=["downloads", "gated", "safetensors", "tags"],
        )
        return [_found(info) for info in found]


def quantised_forms(model: str, *, limit: int = 50) -> list[FoundModel]:
    """Models that the hub lists as quantised from `model`, most downloaded first."""
    with _in_words(model):
        found = HfApi().list_models(
            filter=f"base_model:quantized:{model}",
            sort="downloads",
            limit=limit,
            expand=["downloads", "gated", "safetensors", "tags"],
        )
        return [replace(_found(info), base=model) for info in found]


def fetch(model: str, *, revision: str | None = None, traffic: Traffic | None = None) -> ModelMetadata:
    """Facts of a model without its weights; a second look at the same revision costs no network.

    Raises ModelUnavailableError or ConfigError, each one sentence with the next step; CancelledError
    when `traffic` was cancelled.
    """
    known = facts_cache.load(model, revision)
    if known is None:
        known = _fetch(model, revision, traffic or Traffic())
        facts_cache.save(model, revision, known)
    return _metadata(model, known)


def _metadata(model: str, known: facts_cache.Facts) -> ModelMetadata:
    checkpoint = None
    if known.tensors:
        checkpoint = Checkpoint(
            tensors=known.tensors, total_bytes=sum(tensor.nbytes for tensor in known.tensors.values())
        )
    metadata = metadata_from_config(
        known.config,
        model=model,
        source="hub",
        revision=known.commit,
        checkpoint=checkpoint,
        hf_quant_config=known.files.get("hf_quant_config.json"),
        tokenizer_config=known.files.get("tokenizer_config.json"),
    )
    return replace(
        metadata,
        license=known.license,
        gated=known.gated,
        warnings=metadata.warnings + tuple(known.warnings),
    )


def _fetch(model: str, revision: str | None, traffic: Traffic) -> facts_cache.Facts:
    with _in_words(model, revision):
        traffic.check()
        info = HfApi().model_info(model, revision=revision, timeout=TIMEOUT_S)
        commit = str(info.sha or revision or "main")
        names = [sibling.rfilename for sibling in info.siblings or ()]
        traffic.count(sum(len(name) + 20 for name in names), "file list")
        if "config.json" not in names:
            raise ModelUnavailableError(_without_config(model, names, commit, info, traffic))
        config = _json(model, commit, "config.json", traffic)
        files = {name: _json(model, commit, name, traffic) for name in SMALL_FILES if name in names}
        tensors, warnings = _headers(model, commit, weight_files(names), traffic)
    card = info.card_data
    return facts_cache.Facts(
        commit=commit,
        config=config,
        files=files,
        tensors=tensors,
        license=str(card.get("license")) if card and card.get("license") else None,
        gated=bool(info.gated),
        warnings=warnings,
        received_bytes=traffic.received_bytes,
    )


def weight_files(names: Sequence[str]) -> list[str]:
    """The safetensors files that vLLM would load: those of the root, without Mistral's second copy."""
    weights = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    own = [name for name in weights if not name.startswith("consolidated")]
    return own or weights


def _headers(
    model: str, commit: str, names: Sequence[str], traffic: Traffic
) -> tuple[dict[str, TensorInfo], list[str]]:
    """Tensors of all files, read in parallel; a file that can't be read leaves sizes to the architecture."""
    tensors: dict[str, TensorInfo] = {}

    def one(name: str) -> dict[str, TensorInfo]:
        traffic.check()
        if traffic.received_bytes > TRAFFIC_LIMIT_BYTES:
            raise ConfigError("The headers of this model are larger than 20 MB.")
        return _header(model, commit, name, traffic)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for found in pool.map(one, names):
                tensors.update(found)
        except ConfigError as error:
            pool.shutdown(cancel_futures=True)
            return {}, [f"{error} Sizes come from the architecture."]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return tensors, []


def _header(model: str, commit: str, name: str, traffic: Traffic) -> dict[str, TensorInfo]:
    start = _range(model, commit, name, 0, FIRST_BYTES - 1, traffic)
    if len(start) < 8:
        raise ConfigError(f"{name} is truncated on the hub.")
    (length,) = struct.unpack("<Q", start[:8])
    if not 2 <= length <= LARGEST_HEADER_BYTES:
        raise ConfigError(f"{name} has no safetensors header.")
    header = start[8 : 8 + length]
    if len(header) < length:
        header += _range(model, commit, name, len(start), 7 + length, traffic)
    return parse_safetensors_header(header[:length], name)


def _range(model: str, commit: str, name: str, first: int, last: int, traffic: Traffic) -> bytes:
    """Bytes first..last of a file; a server that ignores ranges is cut off at `last`."""
    headers = build_hf_headers() | {"range": f"bytes={first}-{last}"}
    url = hf_hub_url(model, name, revision=commit)
    wanted = last - first + 1
    body = bytearray()
    with get_session().stream(
        "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
    ) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        skip = first if response.status_code == 200 else 0
        for chunk in response.iter_bytes(16384):
            traffic.check()
            body += chunk
            if len(body) >= skip + wanted:
                break
    traffic.count(len(body), f"header of {name}")
    return bytes(body[skip : skip + wanted])


def _json(model: str, commit: str, name: str, traffic: Traffic) -> Mapping[str, Any]:
    body = _range(model, commit, name, 0, LARGEST_SMALL_FILE, traffic)
    if len(body) > LARGEST_SMALL_FILE:
        raise ConfigError(f"{name} of {short(model, 80)} is over 4 MB, far beyond any real one.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{name} of {short(model, 80)} is not valid JSON; it is broken on the hub, or something between "
            "answers in its place (a login page?)."
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name} of {short(model, 80)} must hold an object, not {short(value)}.")
    return value


def _without_config(model: str, names: Sequence[str], commit: str, info: Any, traffic: Traffic) -> str:
    """Why vLLM can't serve a repository that has no config.json, and what to take instead."""
    shown = short(model, 80)
    base = (info.card_data or {}).get("base_model") if info.card_data else None
    if "adapter_config.json" in names:
        base = _json(model, commit, "adapter_config.json", traffic).get("base_model_name_or_path") or base
        named = f" ({short(base, 80)})" if isinstance(base, str) else ""
        return (
            f"{shown} is a LoRA adapter: plan its base model{named} and pass the adapter with --lora-modules."
        )
    if any(name.endswith(".gguf") for name in names):
        named = f" ({short(base, 80)})" if isinstance(base, str) else ""
        return f"{shown} holds GGUF files only: take the original safetensors model{named} instead."
    if "params.json" in names:
        return f"{shown} holds Mistral's params.json only: take the repository in Hugging Face format."
    return f"{shown} has no config.json, so it is no model that vLLM can serve; search for another."


def _found(info: Any) -> FoundModel:
    tags = [tag for tag in info.tags or () if isinstance(tag, str)]
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
    base = next(
        (
            tag.removeprefix("base_model:quantized:")
            for tag in tags
            if tag.startswith("base_model:quantized:")
        ),
        None,
    )
    return FoundModel(
        id=str(info.id),
        source="hub",
        base=base,
        downloads=info.downloads,
        license=licence,
        gated=bool(info.gated),
        params=info.safetensors.total if info.safetensors else None,
    )


@contextmanager
def _in_words(model: str, revision: str | None = None) -> Iterator[None]:
    """Every way in which the hub can fail, as one sentence with the next step."""
    shown = short(model, 80)
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ModelUnavailableError(
            f"HF_HUB_OFFLINE forbids the hub, and {shown} is neither cached nor in the catalogue: unset it, "
            "or give a directory."
        ) from error
    except GatedRepoError as error:
        raise ModelUnavailableError(
            f"{shown} is gated: accept its terms on its hub page, then run `hf auth login` or set HF_TOKEN here."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelUnavailableError(
            f"{shown} has no revision {short(revision, 60)}; check the branch, tag or commit."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f"{shown} is not on the hub, or private: check the spelling, or run `hf auth login` (or set HF_TOKEN) "
            "to see a private one."
        ) from error
    except EntryNotFoundError as error:
        raise ModelUnavailableError(
            f"{shown} lacks a file that it lists; try again or another revision."
        ) from error
    except HFValidationError as error:
        raise ModelUnavailableError(
            f"{shown} is no model id: write it like organisation/name, or give a directory."
        ) from error
    except HfHubHTTPError as error:
        raise ModelUnavailableError(_status_in_words(shown, error)) from error
    except (ssl.SSLError, http.ConnectError) as error:
        if isinstance(error, ssl.SSLError) or "certificate" in str(error).lower():
            reason = "the hub's certificate can't be verified; check the clock, the proxy and SSL_CERT_FILE"
        else:
            reason = "the hub can't be reached; check the network or HF_ENDPOINT, or use --offline"
        raise ModelUnavailableError(f"{shown}: {reason}.") from error
    except http.TimeoutException as error:
        raise ModelUnavailableError(
            f"{shown}: the hub did not answer within {TIMEOUT_S:.0f} s; try again, or use --offline."
        ) from error
    except http.HTTPError as error:
        raise ModelUnavailableError(
            f"{shown}: the connection to the hub broke off; try again, or use --offline."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelUnavailableError(
            f"{shown}: the hub's answer makes no sense; a login page may be in between (open a browser), "
            "or HF_ENDPOINT is wrong."
        ) from error


def _status_in_words(shown: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else 0
    if status == 429:
        wait = error.response.headers.get("retry-after", "")
        after = f" after {short(wait, 10)} s" if wait.isdigit() else " in a minute"
        return f"{shown}: the hub asks for fewer requests; try again{after}, or log in with `hf auth login`."
    if status in {401, 403}:
        return f"{shown}: the hub refuses this token; run `hf auth login` again or correct HF_TOKEN."
    return f"{shown}: the hub answers with status {status}; try again in a minute, or use --offline."
