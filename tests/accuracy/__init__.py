"""`python -m tests.accuracy`: the planner's predictions against launches that really happened."""

from __future__ import annotations

from pathlib import Path

OWN_LAUNCHES = Path(__file__).with_name("own_launches.jsonl")
"""Launches started for this project; each line says how."""

PUBLIC_LAUNCHES = Path(__file__).with_name("public_launches.jsonl")
"""Launches that others have put into the open; each line has its address."""
