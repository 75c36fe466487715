"""Where the Hugging Face client keeps models, by its own rules; loads nothing of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, with ~ and variables expanded.

    Source: huggingface_hub 1.x `constants.py`.
    """
    from pathlib import Path

    return Path(cache_folder_name(environment))


def cache_folder_name(environment: Mapping[str, str] | None = None) -> str:
    """The same as text: most starts only look whether a model lies there, and pathlib costs 4 ms to import."""
    env = os.environ if environment is None else environment
    if folder := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(folder)
    if home := env.get("HF_HOME"):
        return f"{_expanded(home)}/hub"
    return f"{_expanded(env.get('XDG_CACHE_HOME') or '~/.cache')}/huggingface/hub"


def _expanded(folder: str) -> str:
    return os.path.expanduser(os.path.expandvars(folder))  # noqa: PTH111 - no pathlib
