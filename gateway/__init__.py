"""Twicetold's gateway: HTTP, scopes and answers."""

__version__ = "0.1.0"
