"""The optional native parts, which tests may find absent: no compiler, no python-usdt, an unknown processor."""

from __future__ import annotations

from types import ModuleType

import pytest

from iscsitools.provider import backend, libusdt, registration
from iscsitools.provider.errors import ProviderError

from .tools import missing


def needs_native() -> ModuleType:
    """Return the native module, or end the running test with what it would take."""
    try:
        return backend.native_module()
    except ProviderError as error:
        missing(str(error))
        raise


def needs_libusdt() -> None:
    """End the running test if libusdt cannot be made here. For a processor that it does not know nothing helps."""
    if reason := registration.unknown_processor():
        pytest.skip(reason)
    try:
        libusdt.package_folder()
        libusdt.compiler()
    except ProviderError as error:
        missing(str(error))
