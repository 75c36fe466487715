"""What crosses an edge: requests, configs, saved files (pydantic) and computed results (dataclasses)."""
