"""Everything that can go wrong, as types the caller can tell apart."""

from __future__ import annotations


class GrodtError(Exception):
    """Base of every error GRODT raises on purpose; its text says what to do."""


class ConfigError(GrodtError):
    """A setting, an option or a configuration file is wrong (exit code 2)."""


class DataError(GrodtError):
    """Market data is missing, broken or does not fit the request (exit code 3)."""


class StrategyError(GrodtError):
    """A strategy is unknown, its parameters are invalid or its output breaks the contract (exit code 4)."""


class ExecutionError(GrodtError):
    """An order or a fill broke a rule that must hold (exit code 5)."""


class StorageError(GrodtError):
    """A stored record is missing, unreadable or cannot be written (exit code 6)."""


class NotFoundError(StorageError):
    """What was asked for by name is not stored, or the name fits several."""


class ComputeError(GrodtError):
    """Machines that were to compute failed more often than tasks are started again (exit code 7)."""
