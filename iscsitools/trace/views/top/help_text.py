"""What ``top`` says of its keys, and its colours."""

from __future__ import annotations

from typing import Final

PALETTE: Final = [
    ("heading", "standout", ""),
    ("total", "bold", ""),
    ("gone", "light red", ""),
    ("errors", "light red", ""),
    ("keys", "dark cyan", ""),
    *((f"heat{n}", color, "") for n, color in enumerate(
        ("default", "dark blue", "dark blue", "dark cyan", "dark cyan", "dark green", "brown", "yellow", "light red",
         "light red")
    )),
]  # fmt: skip
KEYS: Final = "q quit  h help  v view  s sort  g group  / filter  Enter heat map  p pause"
"""The first of them are there at 40 columns, too."""
HELP: Final = """\
 q            quit
 v            next view: load; latency of reads and writes; sizes, flushes, UNMAPs; phases
 left, right  other columns, where not all have room
 [  and  ]    lower and higher percentile: P50, P90, P99, P99.9
 o            open the selected row: what it is made of; close it    O   close all
 Enter or m   heat map of the row; left, right: over time
 w            save what is shown under a name, for top --view NAME
 s  or  >     sort by the next column      S  or  <   by the one before
 r            reverse the order
 g            next grouping: client, target and LUN; client; target; ...
 /            filter: rows whose server, client, target or LUN has the text
              Enter keeps it, Esc clears it
 p  or space  pause, and go on
 +  and  -    longer and shorter interval
 arrows, PgUp, PgDn   scroll

 R/s W/s      SCSI commands per second that read, that write
 RKB/s WKB/s  data in and data out, in units of 1024 bytes
 AVG P99      latency of the commands that ended in the interval; RAVG RP99
              of reads, WAVG WP99 of writes
 QD           commands under way     ERR  failed commands since the start
 AQU          commands under way on average
 RSZ WSZ      bytes per command that reads, that writes
 FLU UNM      SYNCHRONIZE CACHE and UNMAP commands per second
 BUSY         of the interval, with a command under way, to the busiest LUN
 BACK DATA SEND   of a command: time of the backstore, waiting for data, sending;
              BP99 DP99 SP99 their percentiles
 LAST MIN     commands per second over the last minute, each row by its own
              highest"""
