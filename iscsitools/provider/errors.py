"""The one error of this room."""

from __future__ import annotations


class ProviderError(Exception):
    """A provider cannot be had here; the text is one line for the user and says why."""
