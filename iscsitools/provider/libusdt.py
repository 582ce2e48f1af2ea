"""libusdt through ctypes: its structures and functions, of a library that was made of what ``usdt`` installed.

The library is made at installation where that can be (``_libusdt.so`` beside this file); else at first use.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Final

from iscsitools.provider import building
from iscsitools.provider.errors import ProviderError

INSTALLED: Final = Path(__file__).parent / "_libusdt.so"
"""Made by ``setup.py``."""


class Section(ctypes.Structure):
    """``usdt_dof_section_t`` of usdt_internal.h."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("align", c_uint32),
        ("offset", c_uint64),
        ("size", c_uint64),
        ("entsize", c_uint32),
        ("pad", c_size_t),
        ("next", c_void_p),
        ("data", c_void_p),
    )


class StringTable(ctypes.Structure):
    """``usdt_strtab_t``."""

    _fields_ = (*Section._fields_[:8], ("strindex", c_int), ("data", c_void_p))


class DofFile(ctypes.Structure):
    """``usdt_dof_file_t``."""

    _fields_ = (("dof", c_void_p), ("gen", c_int), ("size", c_size_t), ("sections", c_void_p))


class Tracepoint(ctypes.Structure):
    """``usdt_probe_t``: the addresses of a probe's is-enabled function and of its tracepoint."""

    _fields_ = (("isenabled_addr", c_void_p), ("probe_addr", c_void_p))


def unavailable() -> str:
    """Why :func:`load` cannot work here, or ``""``. Nothing is built or loaded."""
    try:
        if not os.path.exists(INSTALLED):
            building.package_folder()
            building.compiler()
    except ProviderError as error:
        return str(error)
    return ""


def load(system: str) -> ctypes.CDLL:
    """The library that was installed; else, or if that one does not load, one that is built for this process."""
    failures = []
    if os.path.exists(INSTALLED):
        try:
            return open_library(INSTALLED)
        except ProviderError as error:
            failures.append(str(error))
    try:
        folder, command = building.package_folder(), building.compiler()
        with building.build_folder() as made:
            for arguments in building.ways(system, "", folder):
                try:
                    building.build(command, arguments, made / "libusdt.so")
                    return open_library(made / "libusdt.so")
                except ProviderError as error:
                    failures.append(str(error))
    except ProviderError as error:
        if not failures:
            raise
        failures.append(str(error))
    raise ProviderError(f"libusdt cannot be built: {'; '.join(failures)}")


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library made of libusdt and declare its functions; ProviderError when one is not there."""
    try:
        library = ctypes.CDLL(str(path), use_errno=True)
    except OSError as error:
        raise ProviderError(f"the library made of libusdt does not load: {error}") from error
    return _declare(library)


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Set the argument and result types of the functions that are called; ProviderError when one is not there."""
    section, table, file, point = POINTER(Section), POINTER(StringTable), POINTER(DofFile), POINTER(Tracepoint)
    for name, result, *arguments in (
        ("usdt_create_provider", c_void_p, c_char_p, c_char_p),
        ("usdt_provider_free", None, c_void_p),
        ("usdt_is_enabled", c_int, point),
        ("usdt_fire_probe", None, point, c_size_t, c_void_p),
        ("usdt_probe_offset", c_uint32, point, c_void_p, c_uint8),
        ("usdt_is_enabled_offset", c_uint32, point, c_void_p),
        ("usdt_strtab_init", c_int, table, c_uint32),
        ("usdt_strtab_add", c_uint32, table, c_char_p),
        ("usdt_dof_section_init", c_int, section, c_uint32, c_uint32),
        ("usdt_dof_section_add_data", c_int, section, c_char_p, c_size_t),
        ("usdt_dof_section_free", None, section),
        ("usdt_dof_provider_sect", c_int, section, c_void_p),
        ("usdt_dof_file_init", file, c_void_p, c_size_t),
        ("usdt_dof_file_append_section", None, file, section),
        ("usdt_dof_file_generate", None, file, table),
        ("usdt_dof_file_load", c_int, file, c_char_p),
        ("usdt_dof_file_unload", c_int, file),
        ("usdt_dof_file_free", None, file),
    ):
        function = getattr(library, name, None)
        if function is None:
            raise ProviderError(f"the library made of libusdt has no {name}")
        function.restype = result
        function.argtypes = arguments
    return library
