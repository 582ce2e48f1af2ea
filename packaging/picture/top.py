"""Take the picture of README: `iscsitools top` under a load, as it really was on this machine.

    python packaging/picture/top.py [FILE]          # default docs/top.svg

A server, two clients (qemu-img) with reads and writes, and `top` in a terminal of tmux; what the terminal shows after
some seconds is drawn as an SVG, with its colours. It needs tmux, qemu-img and QEMU's iSCSI driver.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
COLUMNS, ROWS = 80, 14
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 14
INK, PAPER = "#d6deeb", "#1b2430"
COLOURS: Final = ("#1b2430", "#ef6b73", "#8fc07a", "#e5c07b", "#6aa9e9", "#c58af9", "#5cc2cd", "#d6deeb")
SGR: Final = re.compile(r"\x1b\[([0-9;]*)m|\x1b\([A-Z0-9]|[\x0e\x0f]")
IQN: Final = "iqn.2026-11.example:disks"
SECONDS: Final = 6.0


def capture() -> str:
    """The terminal's text, with its colours."""
    program = [sys.executable, "-m", "iscsitools"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder), "TMUX": ""}

        def start(*words: str, **more: int) -> subprocess.Popen[str]:
            process = subprocess.Popen(words, text=True, env=environment, stderr=subprocess.DEVNULL, **more)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        luns = [word for size in ("64M", "64M") for word in ("--lun", f"ram:{size}")]
        serve = start(*program, "serve", "--portal", "127.0.0.1:0", "--name", "demo", "--iqn", IQN, *luns,
                      stdout=subprocess.PIPE)  # fmt: skip
        assert serve.stdout is not None
        portal = next(line for line in serve.stdout if "listens on" in line).split()[-1]
        url = f"iscsi://{portal}/{IQN}"
        for options in (
            ["-c", "100000000", "-d", "16", "-s", "4096"],
            ["-w", "-c", "100000000", "-d", "4", "-s", "65536"],
        ):
            lun = "1" if "-w" in options else "0"
            start("qemu-img", "bench", "-f", "raw", *options, f"{url}/{lun}", stdout=subprocess.DEVNULL)
        tmux = ["tmux", "-L", f"iscsitools-{os.getpid()}"]
        stack.callback(subprocess.run, [*tmux, "kill-server"], check=False, capture_output=True)
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        shown = f"{' '.join(program)} top --name demo"
        subprocess.run([*tmux, "new-session", "-d", *size, shown], check=True, env=environment)
        time.sleep(SECONDS)
        done = subprocess.run([*tmux, "capture-pane", "-e", "-p"], check=True, capture_output=True, text=True)
        return done.stdout


def runs(line: str) -> Iterator[tuple[int, str, str, str, bool]]:
    """Column, text, ink, paper and boldness of each piece of a line."""
    ink, paper, bold, reverse, column, at = INK, "", False, False, 0, 0
    for found in [*SGR.finditer(line), None]:
        text = line[at : found.start() if found else len(line)]
        if text:
            yield (column, text, paper or PAPER, ink, bold) if reverse else (column, text, ink, paper, bold)
            column += len(text)
        if found is None:
            return
        at = found.end()
        for code in map(int, (found[1] or "0").split(";") if found[1] is not None else ()):
            if code == 0:
                ink, paper, bold, reverse = INK, "", False, False
            elif code in (1, 7):
                bold, reverse = bold or code == 1, reverse or code == 7
            elif 30 <= code <= 37 or 90 <= code <= 97:
                ink = COLOURS[code % 10]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                paper = COLOURS[code % 10]
            elif code in (39, 49):
                ink, paper = (INK, paper) if code == 39 else (ink, "")


def draw(screen: str) -> str:
    """The screen as an SVG that needs nothing from elsewhere."""
    lines = screen.rstrip("\n").split("\n")
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, len(lines) * CELL_HEIGHT + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14">',
        "<title>iscsitools top, while two clients read and write</title>",
        f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/>',
    ]
    for row, line in enumerate(lines):
        y = MARGIN + row * CELL_HEIGHT
        for column, text, ink, paper, bold in runs(line):
            x, wide = MARGIN + column * CELL_WIDTH, len(text) * CELL_WIDTH
            if paper:
                out.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{CELL_HEIGHT}" fill="{paper}"/>')
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                out.append(
                    f'<text x="{x:.1f}" y="{y + 14}" textLength="{wide:.1f}" fill="{ink}" xml:space="preserve"{weight}>'
                    f"{html.escape(text)}</text>"
                )
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    """Take and draw it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "top.svg"
    file.write_text(draw(capture()), encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
