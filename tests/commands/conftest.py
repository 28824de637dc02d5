"""Fixtures: a finished run and an empty store of MLflow."""

from tracked import empty_database, system

__all__ = ["empty_database", "system"]
