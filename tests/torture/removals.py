"""Remove one sync, fence or check at a time from a copy of the project, and see that a named test fails.

``python tests/torture/removals.py [WORD...]``: those whose names have one of the words; without words, all. Exit status
1 when a removal goes unnoticed, or does not fit the code any more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
COPIED = ("iscsitools", "tests", "docs", "pyproject.toml")
KEPT = "tests/torture/test_kept.py::test_reservations_are_the_old_or_the_new_ones_after_any_power_failure"
THREADS = "tests/testing/test_kit.py::test_a_file_without_a_ring_survives_power_failures"
CRASH = "tests/testing/test_kit.py::test_stores_on_disk_survive_power_failures"
STORE, SCSI, SERVER = "iscsitools/backstores/", "iscsitools/scsi/", "iscsitools/server/"
TESTS = "tests/backstores/"
DURABLE = TESTS + "test_file_durability.py"
CUT = TESTS + "test_file.py::test_a_file_that_somebody_cut_is_not_made_longer_again"


@dataclass(frozen=True)
class Removal:
    """``old`` in ``file`` becomes ``new``; ``test`` has to fail then."""

    name: str
    file: str
    old: str
    new: str
    test: str


_ROWS = (
    ("fdatasync of a flush", STORE + "durability.py",
     "            sync(self.fd)\n", "            pass\n", THREADS),
    ("RWF_DSYNC of a durable write", STORE + "file.py",
     "self._write(offset, buffer, RWF_DSYNC)", "self._write(offset, buffer, 0)", THREADS),
    ("fdatasync of a flush by the ring", STORE + "file_ring.py",
     "ring.sync(durability.fd, self._flushed, request)", "self._flushed(request, 0)", CRASH),
    ("RWF_DSYNC of a durable write by the ring", STORE + "file_ring.py",
     "flags = RWF_DSYNC if request.durable else 0", "flags = 0", CRASH),
    ("fdatasync of the map of cow", STORE + "filters/overlay_map.py",
     "        sync_data(self._fd)\n", "", CRASH),
    ("flush of the overlay before its map", STORE + "filters/cow.py",
     "                self._overlay.flush()\n", "", CRASH),
    ("bits of cow in the page cache", STORE + "filters/overlay_map.py",
     "self._live.set(start, content)", "pass",
     TESTS + "test_cow.py::test_what_was_acknowledged_survives_a_kill_whatever_was_flushed"),
    ("bits of cow of another boot", STORE + "filters/live_map.py",
     "found[:_PAGE] == expected", "True", TESTS + "test_cow.py::test_bits_of_another_boot_do_not_count"),
    ("fsync of a new file", STORE + "file_open.py",
     "        os.fsync(fd)\n", "", DURABLE + "::test_a_new_file_is_durable_with_its_name"),
    ("fsync of a new file's name", STORE + "file_open.py",
     "        sync_directory(path)\n", "", DURABLE + "::test_a_new_file_is_durable_with_its_name"),
    ("fsync of a new folder", STORE + "syscalls.py",
     "        sync_directory(folder)\n", "", DURABLE + "::test_new_folders_are_durable_one_by_one"),
    ("fsync of a new map", STORE + "filters/overlay_map.py",
     "        os.fsync(self._fd)\n", "", TESTS + "test_cow.py::test_a_new_map_is_durable_before_it_has_its_name"),
    ("fsync of a new map's name", STORE + "filters/overlay_map.py",
     "        sync_directory(path)\n", "", TESTS + "test_cow.py::test_a_new_map_is_durable_before_it_has_its_name"),
    ("fsync of an identity", STORE + "file_identity.py",
     "            os.fsync(fd)\n", "", TESTS + "test_identity.py::test_the_identity_is_durable_before_it_is_told"),
    ("flush of a power cut", STORE + "filters/powerloss.py",
     "            self._log.flushed()\n            self.inner.flush()\n", "            self._log.flushed()\n",
     TESTS + "test_powerloss.py::test_a_cut_is_durable_itself"),
    ("flush of the base at a commit", STORE + "filters/overlay.py",
     "        base.flush()\n", "", "tests/cli/test_cow.py::test_a_commit_that_ends_half_way_is_done_again"),
    ("latch after a failed flush", STORE + "durability.py",
     "        if self.failed is not None:\n", "        if False:\n",
     DURABLE + "::test_a_failed_flush_is_never_followed_by_a_good_one"),
    ("late news of no space", STORE + "file.py",
     "self.durability.no_space(error)", "pass",
     DURABLE + "::test_no_space_for_a_durable_write_does_not_condemn_the_disk"),
    ("flush through a descriptor of its own", STORE + "durability.py",
     "return self._witness if self._witness >= 0 else self._fd", "return self._fd",
     DURABLE + "::test_a_loss_that_a_durable_write_was_told_of_is_told_again_to_the_flush"),
    ("exclusion of a write in a thread", STORE + "file.py",
     "with self._ranges.exclusive(offset, len(buffer)):", "with self._ranges.shared(offset, len(buffer)):",
     TESTS + "test_ranges.py::test_no_read_is_part_old_part_new"),
    ("exclusion of a read on the loop", STORE + "file_at_once.py",
     "if words[WRITERS] and ranges.in_the_way", "if False and ranges.in_the_way",
     TESTS + "test_ranges.py::test_calls_on_the_loop_leave_a_range_in_use_to_threads"),
    ("exclusion of a write on the loop", STORE + "file_at_once.py",
     "if words[HOLDS] and ranges.in_the_way", "if False and ranges.in_the_way",
     TESTS + "test_ranges.py::test_calls_on_the_loop_leave_a_range_in_use_to_threads"),
    ("end of a cut file, in a thread", STORE + "file.py",
     "        if offset + length > end:\n", "        if False:\n", CUT),
    ("end of a cut file, on the loop", STORE + "file_at_once.py",
     "            if offset + length > _seek(self._fd, 0, _end):\n", "            if False:\n", CUT),
    ("end of a cut file, before it is sent", STORE + "file_at_once.py",
     "flags) == len(buffer)", "flags) >= 0",
     TESTS + "test_file_at_once.py::test_no_form_of_read_goes_beyond_the_end_of_a_cut_file"),
    ("flush at the start with the cache off", SERVER + "kept_state.py",
     "        unit.store.flush()\n    except", "        pass\n    except",
     "tests/server/test_durability.py::test_writethrough_is_durable_always"),
    ("fsync of kept reservations", STORE + "syscalls.py",
     "        os.fsync(fd)\n    finally:\n        os.close(fd)\n    os.replace",
     "        pass\n    finally:\n        os.close(fd)\n    os.replace", KEPT),
    ("fsync of their name", STORE + "syscalls.py",
     "    os.replace(fresh, path)\n    sync_directory(path)\n", "    os.replace(fresh, path)\n", KEPT),
    ("new file of kept reservations", STORE + "syscalls.py",
     'fresh = os.path.join(folder, f".{name}.new")', "fresh = path", KEPT),
    ("flush of an atomic write's record", STORE + "atomic_journal.py",
     "            self._place.flush()\n            try:", "            try:",
     "tests/torture/test_kept.py::test_an_atomic_write_is_there_whole_or_not_at_all_after_any_power_failure"),
    ("flush at the end", SERVER + "ending.py",
     "                store.flush()\n", "                pass\n",
     "tests/server/test_durability.py::test_the_file_store_syncs"),
    ("flush before a read with FUA", SCSI + "sbc/read_write.py",
     "if has_fua(task.cdb) and unit.store.unflushed:", "if False:",
     "tests/scsi/test_readwrite.py::test_a_read_with_fua_flushes_only_what_may_be_unflushed"),
    ("check anew when the data is there", SCSI + "core/task.py",
     "if self.generation != self.unit.generation:", "if False:",
     "tests/scsi/test_sanitize.py::test_it_waits_for_what_is_at_work_and_what_waits_is_refused"),
    ("check anew when its turn comes", SCSI + "core/task.py",
     "if self.generation != unit.generation:", "if False:",
     "tests/scsi/test_tasks.py::test_waiting_task_is_checked_again"),
    ("exclusion of commands on the same blocks", SCSI + "core/task_set.py",
     "if other.command.exclusive or (other.blocks and task.overlaps(other)):", "if other.command.exclusive:",
     "tests/scsi/test_task_set.py::test_commands_on_the_same_blocks_exclude_each_other"),
    ("exclusion of an exclusive command", SCSI + "core/task_set.py",
     "        if task.command.exclusive and self._at_work:\n            return True\n", "",
     "tests/scsi/test_task_set.py::test_an_exclusive_command_waits_for_a_later_one_that_went_before_it"),
)  # fmt: skip
REMOVALS = tuple(Removal(*row) for row in _ROWS)


def notice(removal: Removal, folder: Path) -> str:
    """Make the removal in the copy, run its test, put the code back; returns what is wrong, or nothing."""
    file = folder / removal.file
    text = file.read_text()
    if removal.old not in text:
        return f"{removal.file} has no {removal.old.strip()!r} any more"
    file.write_text(text.replace(removal.old, removal.new, 1))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", removal.test]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return ""  # a thread waits for ever: that is noticed, too
    finally:
        file.write_text(text)
    if done.returncode == 1:
        return ""
    return f"{removal.test} passes" if done.returncode == 0 else f"{removal.test} cannot be run: {done.stdout[-300:]}"


def main(words: list[str]) -> int:
    """Try the removals whose names have one of the words."""
    chosen = [r for r in REMOVALS if not words or any(word in r.name for word in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="it-removals-") as name:
        folder = Path(name)
        for each in COPIED:
            source = PROJECT / each
            if source.is_dir():
                shutil.copytree(source, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / each)
        for removal in chosen:
            wrong = notice(removal, folder)
            unnoticed += bool(wrong)
            print(f"{'UNNOTICED' if wrong else 'noticed  '}  {removal.name}: {wrong or removal.test}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} removals were noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
