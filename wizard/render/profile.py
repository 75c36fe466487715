"""A request saved as YAML, and read back: `profile.yaml` of a bundle, and `--profile FILE`.

The file holds the five parts of `PlanRequest`; answers that were not chosen are left out. Profiles of the
program that this one follows (with `id`, `gpu_name`, `tp_size`, `mode`) are read as well.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wizard.errors import WizardError
from wizard.render.escaping import to_yaml
from wizard.render.paths import expanded
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.problems import first_problem
from wizard.vllm.flag_values import cut

PROFILE_VERSION = 2
LARGEST_PROFILE_BYTES = 1 << 20
"""A profile holds some dozens of short lines."""

OLDER_NAMES: Mapping[str, Mapping[str, str]] = {
    "model": {"id": "model"},
    "hardware": {"gpu_name": "gpu", "tp_size": "tensor_parallel_size"},
    "workload": {"mode": "batching_mode"},
}
"""Version 1 spelled these fields differently."""

OLDER_DEFAULTS: Mapping[tuple[str, str], object] = {
    ("model", "quantization"): "none",
    ("policy", "gpu_memory_utilization"): 0.9,
    ("policy", "fragmentation_factor"): 1.15,
    ("policy", "headroom_gb"): 1.0,
}
"""Version 1 wrote its defaults out; they were not chosen by anyone."""


def request_to_profile(request: PlanRequest) -> dict[str, Any]:
    """The request as plain data for YAML: what was chosen, and defaults that aren't "not chosen"."""
    parts = request.model_dump(mode="json", exclude_none=True)
    return {"profile_version": PROFILE_VERSION, **parts}


def profile_to_request(profile: Mapping[str, Any]) -> PlanRequest:
    """The request that plain data describes. Raises WizardError naming the first field that isn't allowed."""
    parts = {key: value for key, value in profile.items() if key not in {"profile_version", "outputs"}}
    version = profile.get("profile_version", PROFILE_VERSION)
    if version not in {1, PROFILE_VERSION}:
        raise WizardError(
            f"The profile is of version {cut(str(version))}, which this program doesn't know; export it again."
        )
    if version == 1:
        parts = _from_version_1(parts)
    from pydantic import ValidationError  # this alone needs it

    try:
        return PlanRequest.model_validate(parts)
    except ValidationError as error:
        where, _, words = first_problem(error)
        raise WizardError(
            f"The profile can't be used: {cut(where or 'all of it')}: {words}; correct it and try again."
        ) from None


def _from_version_1(parts: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for part, fields in parts.items():
        if not isinstance(fields, Mapping):
            renamed[part] = fields
            continue
        names = OLDER_NAMES.get(part, {})
        renamed[part] = {
            names.get(field, field): value
            for field, value in fields.items()
            if value is not None and OLDER_DEFAULTS.get((part, field)) != value
        }
    return renamed


def profile_text(request: PlanRequest, header: str = "") -> str:
    """The YAML text of a request, after comment lines."""
    body = to_yaml(request_to_profile(request))
    return f"{header}\n{body}" if header else body


def save_profile(request: PlanRequest, path: str | Path) -> None:
    """Writes the request as YAML, whole or not at all. Raises WizardError when it can't be written."""
    target = expanded(path)
    text = profile_text(request, "# vllm-wizard-tui profile; use it with --profile FILE")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise WizardError(f"{target} can't be written ({error.strerror}); choose another place.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise WizardError(f"{target} can't be written ({error.strerror}); choose another place.") from None


def load_profile(path: str | Path) -> PlanRequest:
    """The request of a saved profile. Raises WizardError, in one sentence, for any file that isn't one."""
    import yaml

    source = expanded(path)
    try:
        with source.open("rb") as file:
            raw = file.read(LARGEST_PROFILE_BYTES + 1)
    except OSError as error:
        raise WizardError(f"The profile {cut(str(source))} can't be read ({error.strerror}).") from None
    if len(raw) > LARGEST_PROFILE_BYTES:
        raise WizardError(f"{cut(str(source))} is no profile: it is larger than 1 MiB.")
    try:
        document = yaml.safe_load(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise WizardError(f"The profile {cut(str(source))} is not valid YAML{where}.") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise WizardError(
            f"{cut(str(source))} is no profile: it must hold model, hardware, workload and policy."
        )
    return profile_to_request(document)
