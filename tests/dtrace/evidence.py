"""Evidence that the provider and the D scripts work with this system's dtrace, in a table and in a file to send.

``python -m dtrace.evidence``, with the folder above in PYTHONPATH, as root: starts a target, plays the scene of known
numbers under every script, and has each one's report judged. ``make evidence`` does so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tabulate import tabulate

from dtrace import agreement, checks, scene
from iscsitools.dtrace.library import library_arguments
from iscsitools.dtrace.system import find_dtrace, this_system
from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.errors import RunError, UserError
from iscsitools.provider.backend import survey

FORMAT: Final = 1
"""Of the file. A reader refuses others."""
HERE: Final = Path(__file__).resolve().parent
_PROJECT: Final = HERE.parent.parent
_TRY: Final = 300.0
"""Seconds for dtrace to do nothing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: whether it agreed, how many things it compared; else what did not agree."""

    name: str
    agreed: bool
    compared: int
    difference: str = ""


def judge(folder: Path) -> list[Check]:
    """Ask every check about a scene. A report that cannot even be read does not agree."""
    of = agreement.Scene(folder)
    found = []
    for name, check in checks.CHECKS.items():
        try:
            found.append(Check(name, True, check(of)))
        except agreement.DisagreementError as error:
            found.append(Check(name, False, 0, str(error)))
        except Exception as error:
            found.append(Check(name, False, 0, f"{type(error).__name__}: {error}"))
    return found


def system() -> dict[str, str]:
    """What the system calls itself."""
    try:
        title = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        title = f"macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else platform.version()
    return {
        "name": platform.system(), "title": title, "release": platform.release(), "machine": platform.machine(),
        "python": platform.python_version(),
    }  # fmt: skip


def dtrace_version(dtrace: str) -> str:
    """The number that ``dtrace -V`` ends with; on Linux that of the release, which its first line ends with."""
    done = subprocess.run([dtrace, "-V"], capture_output=True, text=True, errors="replace", check=False)
    found = re.findall(r"\d+(?:\.\d+)+", done.stdout)
    return found[-1] if found else done.stdout.strip()


def require(dtrace: str) -> None:
    """RunError where dtrace does not do what is asked of it, or the target has no provider for it."""
    command = [dtrace, "-qn", "BEGIN { exit(0); }"]
    try:
        tried = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TRY, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"{dtrace} has not begun within {_TRY:.0f} s") from None
    if tried.returncode:
        said = tried.stderr.strip().partition("\n")[0]
        raise RunError(f"{said or f'{dtrace} ended with status {tried.returncode}'} (it needs root on most systems)")
    for backend in survey():
        if backend.name == "dtrace" and not backend.available:
            raise RunError(f"the target has no DTrace provider here: {backend.reason}")


def gather(out: Path, revision: str) -> dict[str, Any]:
    """Play the scene in ``out``/scene and judge it: what the file has."""
    dtrace, this = find_dtrace(), this_system()
    require(dtrace)
    folder = out / "scene"
    shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    scene.play(folder, scene.dtrace_tracers([dtrace, *library_arguments(this)], DSCRIPTS, HERE / "scripts"))
    return {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "system": system(),
        "dtrace": dtrace_version(dtrace),
        "library": this.variant.name,
        "iscsitools": {"version": version("iscsitools"), "revision": revision},
        "events": len(agreement.Scene(folder).recorded),
        "seconds": round(time.monotonic() - begun),
        "checks": [asdict(check) for check in judge(folder)],
    }


def table(found: dict[str, Any]) -> str:
    """For people."""
    its = found["system"]
    ours = found["iscsitools"]
    rows = [
        (check["name"], "agreed" if check["agreed"] else "DIFFERS", check["compared"] or check["difference"])
        for check in found["checks"]
    ]
    return (
        f"{its['title']} ({its['name']} {its['release']}, {its['machine']}), DTrace {found['dtrace']}, "
        f"Python {its['python']}\n"
        f"iscsitools {' '.join(filter(None, ours.values()))}, {found['date']}: {found['events']} events "
        f"in {found['seconds']} s\n\n" + tabulate(rows, ("CHECK", "", "COMPARED"), tablefmt="plain")
    )


def file_name(found: dict[str, Any]) -> str:
    """One for each system, its release and its dtrace."""
    its = found["system"]
    words = (its["name"], its["release"], its["machine"], "dtrace", found["dtrace"])
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(words).lower()) + ".json"


def _revision() -> str:
    """The commit of this checkout, where there is a git to say so."""
    command = ["git", "-C", str(_PROJECT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main() -> int:
    """0: everything agreed; 1: something did not, or it cannot be tried here, which is said in one line."""
    parser = argparse.ArgumentParser("evidence", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=_PROJECT / "build" / "evidence", help="the folder of the results")
    parser.add_argument("--revision", help="the commit that is tried (asked of git when it is not given)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    revision = _revision() if arguments.revision is None else arguments.revision
    try:
        found = gather(arguments.out, revision)
    except (UserError, RuntimeError, TimeoutError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        for hint in getattr(error, "lines", ())[1:]:
            print(f"  {hint}", file=sys.stderr)
        return 1
    file = arguments.out / file_name(found)
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{table(found)}\n\nthe file to send: {os.path.relpath(file)}")
    return 0 if all(check["agreed"] for check in found["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
