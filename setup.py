"""Builds the optional native parts: the modules in C, and libusdt. Everything else is in pyproject.toml.

Without a compiler the target works, and has no probes for tracers. A part that cannot be built is one line at
installation; the target says it too, where the part is missed (``NAME.missing`` beside the modules keeps the reason).
ISCSITOOLS_REQUIRE_NATIVE=1 makes it an error, for those who pack. ISCSITOOLS_CFLAGS adds options of the compiler.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "provider")]

import table  # noqa: E402  (these are found only with the path above)
from parts import FLAGS, LIBUSDT, LIMITED_API, NATIVE  # noqa: E402

from iscsitools import sources  # noqa: E402
from iscsitools.provider import building  # noqa: E402
from iscsitools.provider.errors import ProviderError  # noqa: E402

COMPLETION = (
    ("share/bash-completion/completions", "iscsitools"),
    ("share/zsh/site-functions", "_iscsitools"),
    ("share/fish/vendor_completions.d", "iscsitools.fish"),
)
# What is compiled, how, and of which table: a change of one of these changes the modules as one of their sources does.
RECIPE = ["setup.py", "provider/parts.py", "provider/table.py", "iscsitools/probes/table.py"]
# A build of Python without its lock has no such interface.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")


def modules() -> list[Extension]:
    """All that is compiled; libusdt has no sources here, and is made by its own rules."""
    macros: list[tuple[str, str | None]] = [("Py_LIMITED_API", LIMITED_API)] if LIMITED else []
    made = [
        Extension(
            native.name,
            sources=native.sources(),
            depends=[*native.headers(), *RECIPE],
            extra_compile_args=[*FLAGS, *shlex.split(os.environ.get("ISCSITOOLS_CFLAGS", ""))],
            extra_link_args=shlex.split(os.environ.get("ISCSITOOLS_CFLAGS", "")),
            define_macros=[*macros, ("ISCSITOOLS_SOURCES", f'"{sources.digest(ROOT / native.room)}"')],
            py_limited_api=LIMITED,
            optional=True,
        )
        for native in NATIVE
    ]
    return [*made, Extension(LIBUSDT, sources=[], optional=True)]


class BuildExt(build_ext):
    """Makes the C form of the probe table before anything is compiled, and says what could not be built."""

    def run(self) -> None:
        """Build; an editable installation looks for reasons in the source, not where it was built."""
        self.source = ROOT if self.inplace or getattr(self, "editable_mode", False) else None
        super().run()

    def build_extensions(self) -> None:
        """Write table.h among the temporary files and build."""
        made = Path(self.build_temp)
        made.mkdir(parents=True, exist_ok=True)
        (made / "table.h").write_text(table.header())
        for extension in self.extensions:
            extension.include_dirs.append(str(made))
        super().build_extensions()

    def get_ext_filename(self, fullname: str) -> str:
        """Where a part goes. libusdt is no module of Python: it has the plain name of a library."""
        if fullname.endswith("_libusdt"):
            return f"{fullname.replace('.', '/')}.so"
        return str(super().get_ext_filename(fullname))

    def build_extension(self, extension: Extension) -> None:
        """Build one part; what fails becomes one line."""
        output = Path(self.get_ext_fullpath(extension.name))
        try:
            if extension.name == LIBUSDT:
                build_libusdt(output)
            else:
                super().build_extension(extension)
            self.say_missing(extension.name, output, "")
        except Exception as error:
            if os.environ.get("ISCSITOOLS_REQUIRE_NATIVE") == "1":
                raise
            self.say_missing(extension.name, output, " ".join(str(error).split()))

    def say_missing(self, name: str, output: Path, reason: str) -> None:
        """Say why a part is not built, and keep it beside the place of the part; no reason: it is built."""
        folders = [output.parent]
        if self.source:
            folders.append(self.source.joinpath(*name.split(".")[:-1]))
        for folder in folders:
            note = folder / f"{name.rpartition('.')[2]}.missing"
            note.unlink(missing_ok=True)
            if reason:
                folder.mkdir(parents=True, exist_ok=True)
                note.write_text(f"{reason}\n")
        if reason:
            print(f"iscsitools: {name} is not built: {reason}", file=sys.stderr)


def build_libusdt(output: Path) -> None:
    """Make the library of what python-usdt has installed, here or where this is being installed to."""
    system, machine = platform_of(sysconfig.get_platform())
    folder = building.package_folder([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    output.parent.mkdir(parents=True, exist_ok=True)
    # The installed archive is for the system that it was installed on: not for another one's wheel.
    crossing = "_PYTHON_HOST_PLATFORM" in os.environ
    ways = building.ways(system, machine, folder)
    failures = []
    for arguments in [building.source_arguments(system, machine, folder)] if crossing else ways:
        try:
            building.build(building.compiler(), arguments, output)
            shutil.copy(folder / "LICENCE", output.with_name("_libusdt.LICENCE"))
            return
        except ProviderError as error:
            failures.append(str(error))
    raise ProviderError("; ".join(failures))


def data_files() -> list[tuple[str, list[str]]]:
    """Manual pages and shell completion, where the documentation is: not in the copy that the lab installs."""
    if not (ROOT / "docs" / "man").is_dir():
        return []
    made = ROOT / "build" / "man"
    subprocess.run([sys.executable, str(ROOT / "packaging/man/build.py"), str(made)], check=True, capture_output=True)
    sections: dict[str, list[str]] = {}
    for page in sorted(made.iterdir()):
        sections.setdefault(f"share/man/man{page.suffix[1:]}", []).append(str(page.relative_to(ROOT)))
    return [*sections.items(), *((place, [f"packaging/completion/{name}"]) for place, name in COMPLETION)]


def platform_of(name: str) -> tuple[str, str]:
    """System and machine of a name such as linux-aarch64, macosx-11.0-arm64 or freebsd-14.1-release-amd64."""
    words = name.split("-")
    system = {"linux": "Linux", "macosx": "Darwin", "freebsd": "FreeBSD", "solaris": "SunOS"}.get(words[0], words[0])
    try:
        return system, building.processor(words[-1])
    except ProviderError:
        return system, building.processor()  # macOS's universal2, and solaris-2.11-i86pc.64bit


setup(
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
    package_data={
        "iscsitools.datapath": ["*.pyi"],
        "iscsitools.provider": ["include/sys/dtrace.h", "arm64/*.c"],
        # iscsitools/dscripts is a link to dscripts, so that the scripts are found in the same place once installed
        "iscsitools": [
            "py.typed",
            *(f"dscripts/{files}" for files in ("*.d", "README.md", "lib/*.in", "lib/*/*.d", "bpftrace/*.bt")),
            "plugin_template/*/*.in",
        ],
    },
    ext_modules=modules(),
    data_files=data_files(),
)
