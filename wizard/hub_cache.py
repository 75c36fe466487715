"""Where the Hugging Face client keeps models, by its own rules; loads nothing of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, with ~ and variables expanded.

    Source: huggingface_hub 1.x `constants.py`.
    """
    env = os.environ if environment is None else environment
    if folder := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(folder)
    if home := env.get("HF_HOME"):
        return _expanded(home) / "hub"
    return _expanded(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _expanded(folder: str) -> Path:
    return Path(os.path.expandvars(folder)).expanduser()
