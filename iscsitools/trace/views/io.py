"""``io``: reads and writes by client, as the script iscsiio counts them."""

from __future__ import annotations

from iscsitools.trace.selection import address_of
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.report import Column, Report, table

OPERATIONS = ("read", "write")
_NAMES = ("client", "event", "count", "bytes", "bytes_per_second")
_COLUMNS = (
    Column("REMOTE IP", -26),
    Column("EVENT", 8),
    Column("COUNT", 8),
    Column("Kbytes", 10),
    Column("KB/sec", 10),
)


def io_report(snapshot: Snapshot, elapsed: int, commands: bool = False) -> Report:
    """Reads and writes by client: data PDUs as iscsiio counts them, or with ``commands`` SCSI commands.

    Rows by rising count, as dtrace sorts; then the totals.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    for row in snapshot.commands:
        for operation, count, size in _moved(row, commands):
            if count or size:
                cell = sums.setdefault((address_of(row.conn.remote), operation), [0, 0])
                cell[0] += count
                cell[1] += size
    order = sorted(sums, key=lambda key: (sums[key][0], key))
    exact: list[tuple[str, str, int, int, float]] = []
    rows: list[tuple[str, str, int, int, int]] = []
    for client, operation in order:
        count, size = sums[client, operation]
        rate = round(size * 1e9 / elapsed, 3) if elapsed else 0.0
        exact.append((client, operation, count, size, rate))
        rows.append((client, operation, count, *_kilobytes(size, elapsed)))
    for operation in OPERATIONS:
        cells = [cell for (_, o), cell in sums.items() if o == operation]
        size = sum(cell[1] for cell in cells)
        rows.append(("total", operation, sum(cell[0] for cell in cells), *_kilobytes(size, elapsed)))
    return Report(_NAMES, exact, table(_COLUMNS, rows))


def _moved(row: CommandRow, commands: bool) -> list[tuple[str, int, int]]:
    """Operation, count and bytes of a row, for reads and for writes."""
    if commands:
        return [
            ("read", row.commands if row.reads else 0, row.in_bytes),
            ("write", row.commands if row.writes else 0, row.out_bytes),
        ]
    return [("read", row.in_pdus, row.in_bytes), ("write", row.out_pdus, row.out_bytes)]


def _kilobytes(size: int, elapsed: int) -> tuple[int, int]:
    """Kbytes and KB/sec, cut to integers as dtrace's ``normalize`` cuts."""
    return size // 1024, size * 10**9 // (elapsed * 1024) if elapsed else 0
