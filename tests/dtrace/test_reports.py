"""The reader of what the tracers print, where the tracer does not print in order."""

from __future__ import annotations

import pytest

from dtrace.reports import events

FIRST = "\nevent xfer-start 70\nii_lun 0\nii_target iqn.x:y"
SECOND = "\nevent scsi-command 80\nii_lun 1"


def test_records_of_another_event_may_stand_between_two_of_one() -> None:
    more = "\nmore xfer-start 70\nxfer_len 8192"
    cdb = "\nmore scsi-command 80\nic_len 10\nic_cdb_0 280000000000\nmore scsi-command 80\nic_cdb_1 00000100"
    expected = [
        {"event": "xfer-start", "ii_lun": "0", "ii_target": "iqn.x:y", "xfer_len": "8192"},
        {"event": "scsi-command", "ii_lun": "1", "ic_len": "10", "ic_cdb": "28000000000000000100"},
    ]
    begin = "Tracing...\n"
    assert events(begin + FIRST + more + SECOND + cdb + "\n") == expected
    assert events(begin + FIRST + SECOND + cdb + more + "\n") == expected
    assert events(begin + SECOND + cdb + more + FIRST + "\n") == expected


def test_an_empty_member_is_empty() -> None:
    assert events("\nevent nop-send 5\nii_initiator \nii_itt 3\n") == [
        {"event": "nop-send", "ii_initiator": "", "ii_itt": "3"}
    ]


def test_two_events_of_one_name_and_time_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="two xfer-start events have one time, 70"):
        events(FIRST + FIRST)
