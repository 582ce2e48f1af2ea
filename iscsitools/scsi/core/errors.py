"""Errors that carry their answer on the wire: status and sense data."""

from __future__ import annotations

import errno

from iscsitools.backstores.base import MediumError
from iscsitools.scsi.core.sense import FieldPointer, fixed_sense
from iscsitools.wire.scsi import Status
from iscsitools.wire.sense import Asc, SenseKey


class ScsiError(Exception):
    """A command ends with this status; ``sense`` is fixed-format sense data for CHECK CONDITION, else empty."""

    def __init__(self, status: Status, sense: bytes = b"") -> None:
        super().__init__(status, sense)
        self.status = status
        self.sense = sense


def check_condition(key: SenseKey, asc: Asc, information: int | None = None) -> ScsiError:
    """CHECK CONDITION with this sense; ``information`` is the INFORMATION field."""
    return ScsiError(Status.CHECK_CONDITION, fixed_sense(key, asc, information))


def illegal_request(asc: Asc) -> ScsiError:
    """CHECK CONDITION, ILLEGAL REQUEST."""
    return check_condition(SenseKey.ILLEGAL_REQUEST, asc)


def invalid_field(byte: int, bit: int | None = None) -> ScsiError:
    """INVALID FIELD IN CDB, pointing at ``byte`` (and at the field's most significant bit) of the CDB."""
    pointer = FieldPointer(byte, bit)
    sense = fixed_sense(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB, pointer=pointer)
    return ScsiError(Status.CHECK_CONDITION, sense)


def invalid_parameter(byte: int, bit: int | None = None) -> ScsiError:
    """INVALID FIELD IN PARAMETER LIST, pointing into the parameter list."""
    pointer = FieldPointer(byte, bit, in_cdb=False)
    sense = fixed_sense(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    return ScsiError(Status.CHECK_CONDITION, sense)


def parameter_list_length_error() -> ScsiError:
    """PARAMETER LIST LENGTH ERROR: the list is shorter than its own format asks for."""
    return illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)


def miscompare(information: int) -> ScsiError:
    """MISCOMPARE; for COMPARE AND WRITE ``information`` is the offset into the data-out (SBC-3 5.2)."""
    return check_condition(SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, information)


def unit_attention(asc: Asc) -> ScsiError:
    """CHECK CONDITION for a pending unit attention."""
    return check_condition(SenseKey.UNIT_ATTENTION, asc)


def reservation_conflict() -> ScsiError:
    """RESERVATION CONFLICT status."""
    return ScsiError(Status.RESERVATION_CONFLICT)


_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_BUSY = frozenset({errno.EBUSY, errno.EAGAIN})
_PROTECTED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EBADF})
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})


def is_protected(error: BaseException) -> bool:
    """Whether a backstore says by this that it cannot be written."""
    return isinstance(error, OSError) and error.errno in _PROTECTED


def backstore_error(error: BaseException, lba: int, block_size: int, writes: bool) -> ScsiError:
    """The sense data for what a backstore raised while a command worked from ``lba`` on.

    MediumError names its own block; for an I/O error (EIO and whatever else the system may say of a disk that cannot
    be read) the command's first block stands in INFORMATION, for lack of a better one.
    """
    medium = Asc.WRITE_ERROR if writes else Asc.UNRECOVERED_READ_ERROR
    if isinstance(error, MediumError):
        return check_condition(SenseKey.MEDIUM_ERROR, medium, error.offset // block_size)
    if isinstance(error, MemoryError):
        return ScsiError(Status.BUSY)
    if not isinstance(error, OSError):
        return check_condition(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE)
    if error.errno in _BUSY:
        return ScsiError(Status.BUSY)
    if error.errno in _SPACE:
        return check_condition(SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED)
    if is_protected(error):
        return check_condition(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)
    if error.errno in _GONE:
        return check_condition(SenseKey.NOT_READY, Asc.NOT_READY_CAUSE_NOT_REPORTABLE)
    if error.errno == errno.EIO:
        return check_condition(SenseKey.MEDIUM_ERROR, medium, lba)
    return check_condition(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE)
