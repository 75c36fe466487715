"""Every error that a user can meet, as one tree, each with the exit status that the command line returns.

    WizardError                 2   bad usage or bad input
    +-- ConfigError             2   a model's config can't be planned (malformed)
    |   +-- UnsizedError        3   nothing known here tells its size, and it has no headers to read
    +-- ModelUnavailableError   3   the model's facts could not be had (missing, gated, network)
    +-- HardwareError           2   a GPU name is unknown or ambiguous

The message is one sentence for the user and holds the next step.
"""

from __future__ import annotations


class WizardError(Exception):
    """Bad usage or bad input; `str(error)` is the sentence to show."""

    exit_status = 2


class ConfigError(WizardError):
    """A model's config.json is malformed, or of an architecture that can't be planned."""


class UnsizedError(ConfigError):
    """vLLM serves the model, but nothing known here tells its size: its facts could not be had."""

    exit_status = 3


class ModelUnavailableError(WizardError):
    """The model's facts could not be had: missing, private, gated, or no network."""

    exit_status = 3


class HardwareError(WizardError):
    """A GPU name that is unknown, ambiguous, or not planned yet."""
