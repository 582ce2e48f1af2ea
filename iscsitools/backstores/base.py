"""What a backstore is: all that its author imports.

A backstore says its ``kind``, its ``options`` and whether its calls may block, and has the handful of methods of
:class:`~iscsitools.backstores.backstore.Backstore`. What it leaves out, the SCSI disk emulates. Offsets and lengths are
bytes, always multiples of ``block_size``. ``docs/writing-a-backstore.md`` is the guide; what stands here is the
contract.
"""

from iscsitools.backstores.asynchronous import MiscompareError, Operation, Request
from iscsitools.backstores.backstore import API_VERSION, Backstore, Host
from iscsitools.backstores.filter import Filter, stack_name
from iscsitools.backstores.shortcut import Shortcut
from iscsitools.backstores.submitting import SubmittingBackstore
from iscsitools.backstores.terms import (
    Allocation,
    BackstoreError,
    Capabilities,
    CloneSource,
    Extent,
    MediumError,
    Option,
    Setting,
    Space,
)

__all__ = [
    "API_VERSION",
    "Allocation",
    "Backstore",
    "BackstoreError",
    "Capabilities",
    "CloneSource",
    "Extent",
    "Filter",
    "Host",
    "MediumError",
    "MiscompareError",
    "Operation",
    "Option",
    "Request",
    "Setting",
    "Shortcut",
    "Space",
    "SubmittingBackstore",
    "stack_name",
]
