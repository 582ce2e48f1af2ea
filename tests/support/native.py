"""The optional native parts, which tests may find absent: no compiler, no python-usdt, an unknown processor."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from iscsitools.backstores.ring import ring_of_this_thread
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.provider import backend, building
from iscsitools.provider.errors import ProviderError
from iscsitools.server import data_path

from .tools import missing


def needs_native() -> ModuleType:
    """Return the native module, or end the running test with what it would take."""
    try:
        return backend.native_module()
    except ProviderError as error:
        missing(str(error))
        raise


def needs_data_path() -> type[DataPath]:
    """Return the data path in C, or end the running test with what it would take."""
    try:
        return data_path.native()
    except data_path.NoNativeError as error:
        missing(str(error))
        raise


def needs_data_threads() -> None:
    """End the running test where there can be no data threads."""
    if sys.platform != "linux":
        pytest.skip("data threads need epoll")
    needs_data_path()


def needs_libusdt() -> None:
    """End the running test if libusdt cannot be made here. For a processor that it does not know nothing helps."""
    try:
        building.processor()
    except ProviderError as error:
        pytest.skip(str(error))
    try:
        building.package_folder()
        building.compiler()
    except ProviderError as error:
        missing(str(error))


def needs_ring() -> None:
    """End the running test if this kernel has no io_uring, or does not let us: no package brings it."""
    ring = ring_of_this_thread()
    if ring is None:
        pytest.skip("there is no io_uring here")
    ring.leave()
