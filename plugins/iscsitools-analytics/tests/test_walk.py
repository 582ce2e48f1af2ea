"""The walk of docs/analytics.md: which client and LUN of six makes the others slow, where on the disk, and since when.

With ISCSITOOLS_PICTURES=FOLDER the pictures of the documentation are written there (``make pictures``).
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import simulated_load as simulated
from page_lab import Browser, Place, eventually

from iscsitools_analytics.store import Store

PICTURES = os.environ.get("ISCSITOOLS_PICTURES")
LUN = f"{simulated.TARGET}/{simulated.CULPRIT}"


def picture(tab: Any, name: str, whole: bool = True, card: int | None = None) -> None:
    """Of the page, of what is seen of it, or of one graph."""
    if PICTURES:
        tab.wait_for_timeout(300)  # what was asked for has been drawn
        if card is not None:
            tab.locator(".graph").nth(card).screenshot(path=str(Path(PICTURES) / name))
            return
        tab.evaluate("() => window.scrollTo(0, 0)")
        tab.screenshot(path=str(Path(PICTURES) / name), full_page=whole)


def drawn(tab: Any, cards: int) -> None:
    eventually(
        lambda: tab.evaluate(
            "([n]) => window.page.cards.length === n && window.page.cards.every((c) => c.frame)", [cards]
        ),
        f"{cards} graphs",
    )


def at(tab: Any, card: int, t: int) -> str:
    """Points at a time in a graph; returns what the page then says."""
    canvas = tab.locator(".graph").nth(card).locator("canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x = tab.evaluate("([card, t]) => window.page.cards[card].frame.x(t)", [card, t + 1])
    tab.mouse.move(box["x"] + x, box["y"] + 30)
    return str(tab.locator(".readout").nth(card).inner_text())


def half_below(text: str) -> float:
    """Of a readout, the median in microseconds."""
    found = re.search(r"half below ([\d.]+) (us|ms)", text)
    assert found, text
    return float(found[1]) * (1000 if found[2] == "ms" else 1)


def add(tab: Any, metric: str, by: str) -> None:
    tab.select_option("#metric", label=metric)
    tab.select_option("#by", label=by)
    tab.get_by_role("button", name="Add graph").click()


def first_row(tab: Any, card: int) -> str:
    return str(tab.locator(".graph").nth(card).locator("tbody td").first.inner_text()).strip()


def highlight(tab: Any, card: int, key: str) -> None:
    tab.locator(".graph").nth(card).locator("tbody").get_by_role("button", name=key).click()
    eventually(
        lambda: tab.evaluate("([card]) => window.page.cards[card].drawing.marked.some((c) => c.length)", [card]), key
    )


def since_when(tab: Any, began: int) -> None:
    """The map of all latencies has a step, and the cursor says its time."""
    drawn(tab, 1)
    before, after = at(tab, 0, began - 10), at(tab, 0, began + 10)
    assert half_below(before) < 500
    assert half_below(after) > 5000
    edge = at(tab, 0, began)
    assert edge.startswith("13:56:40")
    assert half_below(edge) > 5000
    picture(tab, "analytics-since.png")


def who(tab: Any, began: int) -> None:
    """The client that moves most, and the LUN, since the same second; it is not slow because of others.

    Highlighted, its own commands are those above, all others' below.
    """
    add(tab, "Bytes", "client")
    add(tab, "Bytes", "LUN")
    drawn(tab, 3)
    at(tab, 2, began)
    assert first_row(tab, 1) == "192.0.2.14"
    assert first_row(tab, 2) == LUN
    columns = tab.evaluate("() => window.page.cards[1].data.columns.map((column) => column['192.0.2.14'])")
    assert [value > 1e6 for value in columns] == [False] * 200 + [True] * 100  # two seconds a column
    picture(tab, "analytics-who.png")
    tab.get_by_label("Break Latency down by").select_option("client")
    drawn(tab, 3)
    eventually(lambda: tab.locator(".graph").nth(0).locator("tbody tr").count() == 6, "six clients")
    highlight(tab, 0, "192.0.2.14")


def where_on_the_disk(tab: Any, began: int) -> None:
    """And in which pieces."""
    add(tab, "Where on the disk", "LUN")
    add(tab, "Request size", "LUN")
    drawn(tab, 5)
    highlight(tab, 3, LUN)
    highlight(tab, 4, LUN)
    marked = tab.evaluate("() => window.page.cards[3].drawing.marked.slice(200)")
    counts: dict[int, int] = {}
    for cells in marked:
        for slot, count in cells:
            counts[slot] = counts.get(slot, 0) + count
    written = sum(count for slot, count in counts.items() if 96 <= slot < 108)
    assert written > 0.6 * sum(counts.values())
    at(tab, 3, began + 60)
    picture(tab, "analytics-where.png")


def what_they_wait_for(tab: Any, began: int) -> None:
    """The disk."""
    add(tab, "Phases of a command, on average", "phase")
    drawn(tab, 6)
    at(tab, 5, began + 60)
    assert first_row(tab, 5) == "backstore"
    picture(tab, "analytics-phases.png", card=5)
    tab.locator(".graph").nth(5).locator("button[aria-label^='Remove']").click()
    drawn(tab, 5)


def test_who_makes_the_others_slow_where_on_the_disk_and_since_when(place: Place, browser: Browser) -> None:
    end = int(time.time()) // 86400 * 86400 - 86400 + 14 * 3600  # yesterday at 14:00
    began = end - 200
    store = Store(place.folder / "history.db")
    simulated.fill(store, end - 620, end, began)
    store.close()
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=latencies&span=600&end={end}", height=700) as tab:
        since_when(tab, began)
        who(tab, began)
        where_on_the_disk(tab, began)
        what_they_wait_for(tab, began)
        sent = tab.url
    with browser.page(sent, height=900) as tab:  # the link has all of it
        drawn(tab, 5)
        picture(tab, "analytics.png", whole=False)
    with browser.page(sent, width=400, height=800, dark=True) as tab:
        drawn(tab, 5)
        picture(tab, "analytics-narrow.png", whole=False)
