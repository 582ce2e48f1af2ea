"""docs/scsi.md names every command, page and mode page that is there."""

from __future__ import annotations

from iscsitools.scsi.commands import DISK
from iscsitools.scsi.spc.log_pages import PAGES as LOG_PAGES
from iscsitools.scsi.spc.mode_pages import PAGES as MODE_PAGES
from iscsitools.scsi.spc.vpd import PAGES as VPD_PAGES


def test_all_is_documented(project):
    text = (project / "docs" / "scsi.md").read_text()
    names = {part for command in (*DISK.thin, *DISK.atomic) for part in command.name.split(", ")}
    codes = {f"| {code:02X}h " for code in VPD_PAGES} | {
        f"| {code.page:02X}h/{code.subpage:02X}h " if code.subpage else f"| {code.page:02X}h " for code in MODE_PAGES
    }
    assert {name for name in names | codes if name not in text} == set()
    logs = text.partition("## Log pages")[2].partition("\n## ")[0]
    assert {code for code in LOG_PAGES if f"{code:02X}h" not in logs} == set()
