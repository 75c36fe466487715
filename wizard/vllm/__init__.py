"""Facts about vLLM, by version: rules of memory, flags, limits and error texts."""
