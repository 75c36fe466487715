"""One row of a model search, wherever it was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from wizard.dataclass import dataclass, replace

Found = Literal["cache", "path", "catalogue", "hub"]


_WHOLE_ID = re.compile(r"[A-Za-z0-9_][\w.\-]*/[A-Za-z0-9_][\w.\-]*", re.ASCII)
"""What the hub allows: letters, digits, `_`, `-` and `.` (huggingface_hub.utils.validate_repo_id)."""


def is_whole_id(text: str) -> bool:
    """Whether `text` is written like organisation/name, so that a model may be called so."""
    return len(text) <= 128 and _WHOLE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class FoundModel:
    """What is known of a model before its facts are read; unknown is None."""

    id: str
    """Hugging Face id, or a directory; with a slash at its end one that leads to model directories."""
    source: Found
    params: int | None = None
    gated: bool = False
    base: str | None = None
    """The model that this one is a quantised form of."""
    downloads: int | None = None
    """Of the last 30 days, as the hub counts them."""
    license: str | None = None
    dtype: str | None = None
    """Of the weights that are not quantised: bfloat16, float16 or float32."""
    quantization: str | None = None
    """Method as the checkpoint names it: fp8, awq, gptq, compressed-tensors, modelopt, mxfp4 ...; `gguf`
    and `mlx` are formats that vLLM doesn't load."""

    @property
    def origin(self) -> Found:
        """The same as `source`."""
        return self.source


def merged(local_rows: Sequence[FoundModel], hub_rows: Sequence[FoundModel]) -> list[FoundModel]:
    """Local results first, told what the hub knows of them; then the hub's others."""
    told = {row.id.lower(): row for row in hub_rows}
    rows = [
        replace(
            row,
            params=row.params or hub.params,
            gated=row.gated or hub.gated,
            base=row.base or hub.base,
            downloads=hub.downloads,
            license=row.license or hub.license,
            dtype=row.dtype or hub.dtype,
            quantization=row.quantization or hub.quantization,
        )
        if (hub := told.pop(row.id.lower(), None))
        else row
        for row in local_rows
    ]
    return rows + list(told.values())
