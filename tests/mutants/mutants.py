"""Change the protocol's and durability's code in small ways, one at a time, and list what no test notices.

    make mutants                        # all modules of ROOMS
    make mutants ARGS='brake task_set'  # those whose paths have one of the words

Cosmic Ray makes the changes, in a copy of the project; each is tried with the tests that ROOMS names, which are fast.
What survives and stands in docs/mutants.md with a reason is known; any other is printed, and the status is 1.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGE = PROJECT / "docs" / "mutants.md"
COPIED = ("iscsitools", "tests", "docs", "dscripts", "pyproject.toml")
SECONDS = 120.0
"""What one try may take; an endless loop is noticed by this."""
ROOMS = {
    "iscsitools/iscsi/session/session.py": "tests/engine/test_order.py tests/engine/test_held.py "
    "tests/engine/test_requests.py",
    "iscsitools/iscsi/session/table.py": "tests/iscsi/test_session_table.py",
    "iscsitools/iscsi/login/brake.py": "tests/iscsi/test_brake.py",
    "iscsitools/iscsi/login/negotiation.py": "tests/iscsi/test_negotiation.py tests/iscsi/test_login.py "
    "tests/iscsi/test_login_text.py",
    "iscsitools/iscsi/login/parameters.py": "tests/iscsi/test_negotiation.py tests/iscsi/test_login.py "
    "tests/iscsi/test_login_text.py",
    "iscsitools/scsi/core/task_set.py": "tests/scsi/test_task_set_alone.py tests/scsi/test_task_set.py "
    "tests/scsi/test_tasks.py tests/scsi/test_tasks_property.py",
    "iscsitools/scsi/core/task.py": "tests/scsi/test_task_set.py tests/scsi/test_long_work.py tests/scsi/test_tasks.py "
    "tests/scsi/test_readwrite.py "
    "tests/backstores/test_asynchronous.py tests/backstores/test_asynchronous_steps.py tests/scsi/test_sanitize.py",
    "iscsitools/scsi/core/medium_work.py": "tests/scsi/test_task_set.py tests/scsi/test_long_work.py "
    "tests/scsi/test_tasks.py "
    "tests/scsi/test_readwrite.py "
    "tests/backstores/test_asynchronous.py tests/backstores/test_asynchronous_steps.py tests/scsi/test_sanitize.py",
    "iscsitools/backstores/durability.py": "tests/backstores/test_file_durability.py",
    "iscsitools/backstores/file.py": "tests/backstores/test_file_facts.py tests/backstores/test_file.py "
    "tests/backstores/test_file_shortcut.py "
    "tests/backstores/test_file_at_once.py tests/backstores/test_devices.py tests/backstores/test_file_durability.py "
    "--deselect tests/backstores/test_file_durability.py::test_what_was_flushed_survives_a_kill",
    "iscsitools/backstores/file_asynchronous.py": "tests/backstores/test_file_shortcut.py "
    "tests/backstores/test_file_ring.py tests/backstores/test_asynchronous.py",
    "iscsitools/backstores/file_at_once.py": "tests/backstores/test_file_at_once.py tests/backstores/test_ranges.py "
    "tests/backstores/test_file_durability.py",
    "iscsitools/backstores/file_identity.py": "tests/backstores/test_identity.py",
}
"""Each module, and the tests that hold it."""
LEFT_OUT = [
    # One change of each operator tells whether its place is tested; twelve tell nothing more. ``|`` in an annotation
    # is never computed.
    "core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|BitAnd_BitOr|Mod_Add|LShift_RShift|RShift_LShift|FloorDiv_Mul).*",
    "core/ReplaceComparisonOperator_(?!Lt_LtE|LtE_Lt$|Gt_GtE|GtE_Gt$|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is).*",
    "core/ReplaceUnaryOperator_(?!Delete_Not|USub_UAdd).*",
    "core/RemoveDecorator",
    "core/VariableReplacer",
    "core/VariableInserter",
    "core/ExceptionReplacer",
]


@dataclass(frozen=True, order=True)
class Mutant:
    """A change of one line: ``old`` in ``file`` became ``new``."""

    file: str
    old: str
    new: str

    def row(self) -> str:
        """The row of the page, without its reason."""
        return f"| {self.file.removeprefix('iscsitools/')} | `{self.old}` | `{self.new}` |"


def known(page: str) -> dict[Mutant, str]:
    """The survivors that the page lists, with their reasons."""
    rows = re.findall(r"^\| ([\w/]+\.py) \| `(.+?)` \| `(.+?)` \| (.+) \|$", page, re.MULTILINE)
    return {
        Mutant(f"iscsitools/{file}", old.replace("\\|", "|"), new.replace("\\|", "|")): why
        for file, old, new, why in rows
    }


def mutant_of(file: str, diff: str) -> Mutant:
    """What a diff of one mutation changes. In a table ``|`` has to be escaped, so it is here."""
    lines = diff.splitlines()
    old = " ".join(line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---"))
    new = " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))
    return Mutant(file, old, new)


def run(folder: Path, *command: str) -> str:
    """A command of Cosmic Ray's in the copy; what it prints."""
    path = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(path), *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutants: {command[0]} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def survivors(folder: Path, file: str, tests: str) -> Iterator[Mutant | None]:
    """Try every change of a module; yields None for each that was noticed, and the others."""
    test = f"{sys.executable} -m pytest -q -x -p no:cacheprovider -m 'not slow and not lab' {tests}"
    config = folder / "mutants.toml"
    config.write_text(
        f'[cosmic-ray]\nmodule-path = ["{file}"]\ntimeout = {SECONDS}\nexcluded-modules = []\n'
        f'test-command = {json.dumps(test)}\n[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n"
    )
    run(folder, "cosmic-ray", "init", "--force", "mutants.toml", "mutants.sqlite")
    run(folder, "cosmic-ray", "baseline", "mutants.toml")
    run(folder, "cr-filter-operators", "mutants.sqlite", "mutants.toml")
    run(folder, "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
    for line in run(folder, "cosmic-ray", "dump", "mutants.sqlite").splitlines():
        _, result = json.loads(line)
        if result is None or result["worker_outcome"] != "normal":
            continue
        yield mutant_of(file, result["diff"]) if result["test_outcome"] == "survived" else None


def main(words: list[str]) -> int:
    """Try the modules that have one of the words in their paths."""
    reasons = known(PAGE.read_text()) if PAGE.exists() else {}
    status = 0
    with tempfile.TemporaryDirectory(prefix="it-mutants-") as name:
        folder = Path(name)
        for each in COPIED:
            source = PROJECT / each
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / each)
        for file, tests in ROOMS.items():
            if words and not any(word in file for word in words):
                continue
            tried = list(survivors(folder, file, tests))
            alive = sorted({mutant for mutant in tried if mutant is not None})
            new = [mutant for mutant in alive if mutant not in reasons]
            print(
                f"{file}: {len(tried)} changes, {len(alive)} unnoticed, {len(new)} of them without a reason", flush=True
            )
            for mutant in new:
                print(mutant.row(), flush=True)
            status |= bool(new)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
