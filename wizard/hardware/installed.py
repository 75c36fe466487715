"""Which vLLM is installed beside us, found without importing anything heavy."""

from __future__ import annotations

import os
import re
import sys

_RECORD = re.compile(r"vllm-(\d+\.\d+(?:\.\d+)?)[^-]*\.dist-info")


def installed_vllm_version() -> str | None:
    """X.Y.Z of the vLLM installed beside us, without its local part (`+cu129`); `None` where there is none.

    Looks for the installer's record on `sys.path`, which is what importlib.metadata does, at a tenth of its
    price: every cold start pays it.
    """
    for entry in sys.path:
        try:
            records = sorted(name for name in os.listdir(entry or ".") if name.startswith("vllm-"))  # noqa: PTH208 - no pathlib
        except OSError:
            continue
        for record in records:
            if (match := _RECORD.fullmatch(record)) is not None:
                return match[1]
    return None
