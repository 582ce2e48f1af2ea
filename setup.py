"""Builds the optional native module; everything else is in pyproject.toml."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "provider"))

import table  # noqa: E402  (found only with the path above)


class BuildExt(build_ext):
    """Makes the C form of the probe table before anything is compiled."""

    def build_extensions(self) -> None:
        """Write table.h among the temporary files and build."""
        made = Path(self.build_temp)
        made.mkdir(parents=True, exist_ok=True)
        (made / "table.h").write_text(table.header())
        for extension in self.extensions:
            extension.include_dirs.append(str(made))
        super().build_extensions()


NAMES = ("module", "event", "connection", "sdt", "tracepoints")

setup(
    cmdclass={"build_ext": BuildExt},
    package_data={
        "iscsitools.provider": ["include/sys/dtrace.h", "arm64/usdt_probe.c"],
        # iscsitools/dscripts is a link to dscripts, so that the scripts are found in the same place once installed
        "iscsitools": [
            *(f"dscripts/{files}" for files in ("*.d", "README.md", "lib/*.in", "lib/*/*.d", "bpftrace/*.bt")),
            "plugin_template/*/*.in",
        ],
    },
    ext_modules=[
        Extension(
            "iscsitools.provider._native",
            sources=[f"provider/{name}.c" for name in NAMES],
            depends=[f"provider/{name}.h" for name in ("uiscsi", "event", "sdt", "tracepoints")],
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wno-unused-parameter", "-fvisibility=hidden"],
            optional=True,  # without a compiler the target works, and has no DTrace or SDT probes
        )
    ],
)
