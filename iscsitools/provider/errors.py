"""The errors of this room."""

from __future__ import annotations


class ProviderError(Exception):
    """A provider cannot be had here; the text is one line for the user and says why."""


class NotBuiltError(ProviderError):
    """The native module was not built at installation, as without a C compiler: nobody has lost what he had."""
