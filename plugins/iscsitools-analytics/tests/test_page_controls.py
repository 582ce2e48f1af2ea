"""The page in a real browser: that it does what its controls say, by mouse, keys and address."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import simulated_load as simulated
from iscsitools.initiator import Session
from page_lab import IQN, SIZE, Browser, Place, cell, eventually, filled, table, waited, wanted


def test_a_click_shows_a_row_alone_a_second_one_leaves_it_out(place: Place, browser: Browser) -> None:
    _, end = filled(place, 90, 30)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&g=latencies+by:client&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        assert set(table(tab, 0)) == set(simulated.CLIENTS)
        assert table(tab, 0)["192.0.2.14"] == ["150", "105", "150"]
        stack = tab.locator(".graph").nth(0)
        stack.get_by_role("button", name="192.0.2.14").click()
        waited(tab, "() => window.page.cards[0].drawing.keys.length === 1")
        assert "client = 192.0.2.14" in stack.inner_text()
        stack.locator("tbody").get_by_role("button", name="192.0.2.14").click()
        waited(tab, "() => window.page.cards[0].drawing.keys.length === 5")
        assert "192.0.2.14" not in table(tab, 0)
        heat = tab.locator(".graph").nth(1)
        heat.locator("tbody").get_by_role("button", name="192.0.2.14").click()
        waited(tab, "() => window.page.cards[1].drawing.marked.some((c) => c.length)")
        assert "mark" in tab.evaluate("() => location.hash")
        marked = tab.evaluate("() => window.page.cards[1].drawing.marked.flat().reduce((sum, [, n]) => sum + n, 0)")
        assert marked == 30 * 60 + 30 * 150
        heat.locator(".chip").click()
        waited(tab, "() => window.page.cards[1].drawing.marked.every((c) => !c.length)")


def test_a_point_of_a_map_becomes_a_graph_of_those_over_it(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 60)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=latencies&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        # The row that begins at 16 ms, bucket 4 * (1023 + 24) of 2**24 ns.
        x, y = tab.evaluate(
            """([t, bucket]) => { const {drawing, frame} = window.page.cards[0];
            const [x, y, width, height] = drawing.box(frame, frame.columnOf(t), bucket);
            return [x + width / 2, y + height / 2]; }""",
            [end - 20, 4 * (1023 + 24)],
        )
        box = tab.locator(".plot canvas").nth(1).bounding_box()
        tab.mouse.click(box["x"] + x, box["y"] + y)
        tab.get_by_role("menuitem", name="Operations over 16.8 ms by client").click()
        waited(tab, "() => window.page.cards.length === 2 && window.page.cards[1].drawing")
        assert "over:16777216" in tab.evaluate("() => window.page.cards[1].asked")
        rows = table(tab, 1)
        assert next(iter(rows)) == "192.0.2.14"  # its own 25 ms: nearly all of its 90 writes a second
        assert float(rows["192.0.2.14"][1]) > 80
        assert tab.locator("h2").all_inner_texts() == ["Latency", "Operations over 16.8 ms by client"]


def test_a_link_shows_a_colleague_the_same(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    where = f"#g=latencies+by:lun+client!=192.0.2.11+colour:linear&g=p99+by:client&span=40&end={end}&compare=1"
    with browser.page(analytics.url + where) as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        sent = tab.url
        first = tab.evaluate("() => window.page.cards.map((card) => card.base.toDataURL())")
        tables = [table(tab, 0), table(tab, 1)]
    with browser.page(sent) as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        assert tab.url == sent
        assert tab.evaluate("() => window.page.cards.map((card) => card.base.toDataURL())") == first
        assert [table(tab, 0), table(tab, 1)] == tables


def test_pause_back_zoom_and_the_keys(place: Place, browser: Browser) -> None:
    _, end = filled(place, 200, 20)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&span=60") as tab:
        waited(tab, "() => window.page.now > 0 && window.page.cards[0].data")
        tab.keyboard.press(" ")
        assert tab.locator("#pause").inner_text() == "Live"
        stood = tab.evaluate("() => window.page.end")
        waited(tab, "([t]) => window.page.now > t + 2", stood)  # time goes on
        assert tab.evaluate("() => window.page.until") == stood  # what is shown does not
        tab.keyboard.press("ArrowLeft")
        assert tab.evaluate("() => window.page.end") == stood - 30
        tab.keyboard.press("-")
        assert tab.evaluate("() => window.page.span") == 120
        tab.keyboard.press("+")
        assert tab.evaluate("() => [window.page.span, window.page.end]") == [60, stood - 30]
        waited(tab, "() => window.page.cards[0].frame && window.page.cards[0].data.columns.length === 60")
        tab.locator("#pause").click()
        assert "end=" not in tab.url
        # A drag over a graph is a zoom to what it went over.
        tab.evaluate("([end]) => window.page.go(100, end)", [end])
        waited(tab, "([begin]) => window.page.cards[0].data.begin === begin", end - 100)
        box = tab.locator(".plot canvas").nth(1).bounding_box()
        left, right = tab.evaluate(
            "([a, b]) => [a, b].map((t) => window.page.cards[0].frame.x(t))", [end - 60, end - 20]
        )
        tab.mouse.move(box["x"] + left, box["y"] + 50)
        tab.mouse.down()
        tab.mouse.move(box["x"] + right, box["y"] + 60, steps=4)
        tab.mouse.up()
        assert abs(tab.evaluate("() => window.page.span") - 40) <= 1
        assert abs(tab.evaluate("() => window.page.end") - (end - 20)) <= 1


def test_a_graph_can_be_read_and_asked_by_the_keyboard(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=latencies+by:client&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        canvas = tab.locator(".plot canvas").nth(1)
        canvas.focus()
        for _ in range(3):
            tab.keyboard.press("ArrowLeft")
        label = canvas.get_attribute("aria-label")
        assert "450 commands" in label
        assert "99 %" in label
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("Enter")
        assert tab.get_by_role("menuitem").count() >= 3
        tab.keyboard.press("Escape")
        assert tab.get_by_role("menuitem").count() == 0


def test_graphs_are_added_from_the_menu_and_taken_away(place: Place, browser: Browser) -> None:
    analytics = place.analytics()
    with browser.page(analytics.url) as tab:
        assert tab.locator("h2").all_inner_texts() == ["Latency by client", "Operations by client", "Bytes by LUN"]
        for name in tab.evaluate("() => Object.keys(window.page.metrics)"):
            tab.select_option("#metric", name)
            tab.get_by_role("button", name="Add graph").click()
        waited(tab, "() => window.page.cards.every((card) => card.data)")
        assert tab.locator(".graph").count() == 3 + tab.locator("#metric option").count() > 12
        assert tab.locator(".problem").count() == 0
        while count := tab.locator(".graph").count():
            tab.locator(".graph").first.get_by_role("button", name="Remove").click()
            assert tab.locator(".graph").count() == count - 1
        assert "No graph is shown" in tab.locator("main").inner_text()


def test_exports_are_what_is_shown(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&g=latencies&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")

        def exported(card: int, form: str) -> bytes:
            with tab.expect_download() as download:
                tab.locator(".graph").nth(card).get_by_label("Export").select_option(form)
            return Path(download.value.path()).read_bytes()

        rows = list(csv.DictReader(io.StringIO(exported(0, "CSV").decode())))
        assert sum(float(row["value"]) for row in rows) == 60 * 6 * 60 + 20 * 90
        cells = list(csv.DictReader(io.StringIO(exported(1, "CSV").decode())))
        assert sum(int(row["commands"]) for row in cells) == 60 * 6 * 60 + 20 * 90
        assert exported(0, "PNG").startswith(b"\x89PNG")
        svg = exported(1, "SVG").decode()
        assert svg.startswith("<svg")
        assert svg.count("<rect") > len(cells)


def test_a_token_in_the_link_is_not_in_the_address_afterwards(place: Place, browser: Browser) -> None:
    analytics = place.analytics("--token", "token")
    with browser.page(analytics.where + "&g=logins") as tab:
        waited(tab, "() => window.page.cards[0].data")
        assert "token" not in tab.url
        assert "g=logins" in tab.url
        assert tab.evaluate("() => document.cookie") == ""


def test_the_commands_behind_a_point(place: Place, browser: Browser) -> None:
    portal = place.target("0=ram+delay:64M,delay.read=20ms", "1=ram:64M")
    analytics = place.analytics("--commands", "5")
    eventually(lambda: analytics.ask("api/about")["attached"] == ["disks"], "attached")
    with browser.page(f"{analytics.url}#g=latencies+operation=read&span=60") as tab:
        waited(tab, "() => window.page.cards[0]?.data?.columns.some((column) => column !== null)")
        with Session.connect(portal, IQN) as session:
            session.read_capacity()
            session.read(4096, SIZE)
            session.logout()
        t, bucket = waited(
            tab,
            """() => { const {data} = window.page.cards[0];
            const at = data.columns.findIndex((column) => column && column.c.length);
            return at < 0 ? null : [data.begin + at, data.columns[at].c[0]]; }""",
        )
        tab.keyboard.press(" ")
        waited(tab, "([t]) => window.page.cards[0].frame.columnOf(t) !== null && window.page.end !== null", t)
        x, y = tab.evaluate(
            """([t, bucket]) => { const {drawing, frame} = window.page.cards[0];
            const [x, y, width, height] = drawing.box(frame, frame.columnOf(t), bucket);
            return [x + width / 2, y + height / 2]; }""",
            [t, bucket],
        )
        box = tab.locator(".plot canvas").nth(1).bounding_box()
        tab.mouse.click(box["x"] + x, box["y"] + y)
        tab.get_by_role("menuitem", name="The 1 command of").click()
        listed = tab.locator(".commands")
        listed.wait_for()
        assert "4096+8" in listed.inner_text()
        listed.locator("summary").click()
        assert "scsi-command" in listed.inner_text()
        assert "data-send" in listed.inner_text()


def point(tab: Any, card: int, t: int, bucket: int | None = None) -> tuple[float, float]:
    """Where a second, or a cell of a heat map, is on the screen."""
    x, y = tab.evaluate(
        """([card, t, bucket]) => { const {drawing, frame} = window.page.cards[card];
        if (bucket === null) return [frame.x(t + 0.5), frame.top + 20];
        const [x, y, width, height] = drawing.box(frame, frame.columnOf(t), bucket);
        return [x + width / 2, y + height / 2]; }""",
        [card, t, bucket],
    )
    box = tab.locator(".graph").nth(card).locator(".plot canvas").nth(1).bounding_box()
    return box["x"] + x, box["y"] + y


def test_a_table_is_sorted_by_its_heads_and_has_totals_at_the_cursor(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        heads = tab.locator("thead button")
        assert heads.all_inner_texts() == ["client", "newest", "average \u25be", "highest"]
        heads.nth(0).click()
        assert list(table(tab, 0)) == list(simulated.CLIENTS)
        heads.nth(0).click()
        assert list(table(tab, 0)) == list(reversed(simulated.CLIENTS))
        assert tab.locator("th").first.get_attribute("aria-sort") == "descending"
        heads.nth(3).click()
        assert next(iter(table(tab, 0))) == "192.0.2.14"
        for t, total in ((end - 50, "360"), (end - 5, "450")):
            tab.mouse.move(*point(tab, 0, t))
            assert heads.nth(1).inner_text() == "at the cursor"
            assert tab.locator("tfoot td").all_inner_texts() == ["total of 6", total, "390", ""]


def test_a_map_has_linear_colours_when_asked_for(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 60)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=latencies&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        tab.get_by_role("button", name="Log colour").click()
        assert "colour%3Alinear" in tab.url
        t, bucket = end - 20, 4 * (1023 + 23)  # 8.4 to 10.5 ms
        linear = """async ([count, most]) => { const {colourOf} = await import("/page/palette.js");
            return colourOf(count, most, true, false); }"""
        count, most = tab.evaluate(
            "([t, bucket]) => { const {drawing, data} = window.page.cards[0]; const at = (t - data.begin) / data.step; "
            "return [drawing.cells[at].find(([each]) => each === bucket)[1], drawing.most]; }",
            [t, bucket],
        )
        colour = tab.evaluate(linear, [count, most])
        assert f"#{bytes(cell(tab, 0, t, bucket)[:3]).hex()}" == colour != wanted_hex(tab, t, bucket)


def test_a_slice_is_a_histogram_and_a_cut_hides_no_command(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 60)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=latencies&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        t, bucket = end - 20, 4 * (1023 + 23)  # 8.4 to 10.5 ms
        # The slice at the cursor: a histogram at the right of the map, its percentiles below.
        tab.mouse.move(*point(tab, 0, t, bucket))
        assert tab.evaluate(
            "() => { const {over, frame} = window.page.cards[0]; const ratio = over.width / frame.width; "
            "return [...over.getContext('2d').getImageData((frame.right + 5) * ratio, 0, 1, over.height).data]"
            ".filter((part, at) => at % 4 === 3 && part).length; }"
        )
        assert "99 %" in tab.locator(".readout").inner_text()
        tab.mouse.click(*point(tab, 0, t, bucket))
        tab.get_by_role("menuitem", name="Cut what is above").click()
        assert tab.locator(".chip").inner_text().startswith("cut at 10.5 ms")
        above, all_of_them, cells = tab.evaluate(
            "([t]) => { const {drawing, frame} = window.page.cards[0]; const at = frame.columnOf(t); "
            "return [drawing.at(at, drawing.high - 1)[2], drawing.cells[at].reduce((sum, [, n]) => sum + n, 0), "
            "drawing.cells[at].filter(([, n]) => n).map(([each]) => drawing.box(frame, at, each)[1] >= frame.top)]; }",
            [t],
        )
        assert all_of_them == 450
        assert above > 90  # what is above is counted in the highest row, where its colour is
        assert all(cells)


def wanted_hex(tab: Any, t: int, bucket: int) -> str:
    """A cell's colour on the logarithmic scale."""
    return f"#{bytes(wanted(tab, 0, t, bucket)[:3]).hex()}"
