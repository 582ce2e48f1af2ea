"""All checks of a scene, by the name under which the evidence has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dtrace import agreement, agreement_forms, agreement_tables

CHECKS: Final[Mapping[str, Callable[[agreement.Scene], int]]] = {
    **agreement.CHECKS,
    "iscsilat.d": agreement_tables.latencies,
    "iscsiseek.d": agreement_tables.seeks,
    "iscsireserve.d": agreement_tables.reserved,
    "iscsilogin.d": agreement_tables.logged_in,
    "raw arguments": agreement_forms.raw,
    "a guide's script of every probe": agreement_forms.guide_who,
    "a guide's script of transfers": agreement_forms.guide_xfer,
    "a book's script of reads and writes": agreement_forms.book_io,
}
