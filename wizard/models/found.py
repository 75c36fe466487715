"""One row of a model search, wherever it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Found = Literal["cache", "path", "catalogue", "hub"]


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
