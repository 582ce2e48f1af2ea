"""The page in a real browser: what it shows of a load with known numbers, and that it does what its controls say."""

from __future__ import annotations

import csv
import io
import random
import signal
import time
from pathlib import Path
from typing import Any

import simulated_load as simulated
from iscsitools.initiator import Session
from page_lab import IQN, Analytics, Browser, Place, eventually

from iscsitools_analytics.store import Store

SIZE = 8
"""Blocks of a read, 4 KiB."""


def waited(tab: Any, condition: str, *arguments: Any) -> Any:
    # The page's policy forbids what the driver's own way of waiting does: to evaluate text.
    return eventually(lambda: tab.evaluate(condition, list(arguments)), condition)


def cell(tab: Any, card: int, t: int, bucket: int) -> list[int]:
    """The colour of the middle of a heat map's cell, as the canvas has it."""
    found: list[int] = tab.evaluate(
        """([card, t, bucket]) => {
            const {drawing, frame, base} = window.page.cards[card];
            const [x, y, width, height] = drawing.box(frame, frame.columnOf(t), bucket);
            const scale = base.width / frame.width;
            const at = [Math.floor((x + width / 2) * scale), Math.floor((y + height / 2) * scale)];
            return [...base.getContext('2d').getImageData(...at, 1, 1).data];
        }""",
        [card, t, bucket],
    )
    return found


def wanted(tab: Any, card: int, t: int, bucket: int) -> list[int]:
    """The colour that the palette has for the count that the server tells of a cell."""
    found: list[int] = tab.evaluate(
        """async ([card, t, bucket]) => {
            const {colourOf} = await import('/page/palette.js');
            const {drawing, data} = window.page.cards[card];
            const flat = data.columns[(t - data.begin) / data.step].c;
            const count = flat[flat.findIndex((each, at) => at % 2 === 0 && each === bucket) + 1];
            const colour = colourOf(count, drawing.most, false, document.documentElement.dataset.theme === 'dark');
            return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)).concat(255);
        }""",
        [card, t, bucket],
    )
    return found


def table(tab: Any, card: int) -> dict[str, list[str]]:
    rows = tab.locator(".graph").nth(card).locator(".scroll tbody tr").all_inner_texts()
    split = [row.split("\t") for row in rows]
    return {cells[0].strip(): [each.strip() for each in cells[1:]] for cells in split}


def filled(place: Place, seconds: int, disturbed: int) -> tuple[int, int]:
    """A history of the last ``seconds``, in which the culprit was on at the end; returns its beginning and end."""
    end = int(time.time()) - 30
    store = Store(place.folder / "history.db")
    simulated.fill(store, end - seconds, end, end - disturbed)
    store.close()
    return end - seconds, end


def test_what_a_real_load_did_is_shown_as_it_happens(place: Place, browser: Browser) -> None:
    portal = place.target("0=ram:64M", "1=ram:64M")
    analytics = place.analytics()
    question = "#g=operations+by:client+operation=read&g=sizes+operation=read&g=bytes+by:lun+operation=write&span=60"
    with browser.page(analytics.url + question) as tab:
        waited(tab, "() => document.querySelector('#status').textContent === 'attached to disks'")
        waited(tab, "() => window.page.cards[0]?.data?.columns.some((column) => column !== null)")
        for source, reads in (("127.0.0.1", 23), ("127.0.0.2", 11)):
            with Session.connect(portal, IQN, source=(source, 0)) as session:
                session.read_capacity()
                session.read_capacity(lun=1)
                for number in range(reads):
                    session.read(number * SIZE, SIZE)
                session.write(0, bytes(1 << 16), lun=1)
                session.logout()
        sums = waited(
            tab,
            """([wanted]) => {
                const sums = {};
                for (const column of window.page.cards[0].data.columns)
                    for (const [key, value] of Object.entries(column || {})) sums[key] = (sums[key] || 0) + value;
                const total = Object.values(sums).reduce((a, b) => a + b, 0);
                return total === wanted ? sums : null;
            }""",
            34,
        )
        assert sums == {"127.0.0.1": 23, "127.0.0.2": 11}
        # 4 KiB is bucket 12 octaves above that of 1.
        four_kib = 4 * (1023 + 12)
        seconds = tab.evaluate(
            "() => { const {data} = window.page.cards[1]; return data.columns.map((column, at) => "
            "column && column.c.length ? data.begin + at : null).filter((t) => t !== null); }"
        )
        tab.keyboard.press(" ")  # what is compared stands still
        for t in seconds:
            assert cell(tab, 1, t, four_kib) == wanted(tab, 1, t, four_kib)
        assert list(table(tab, 2)) == [f"{IQN}/1"]


def test_phases_of_a_slow_disk_are_a_stack(place: Place, browser: Browser) -> None:
    """Reads wait 20 ms for the disk; that is what nearly all of the stack is, in the table and in the picture."""
    portal = place.target("0=ram+delay:64M,delay.read=20ms")
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=phases+operation=read&span=60") as tab:
        waited(tab, "() => document.querySelector('#status').textContent === 'attached to disks'")
        with Session.connect(portal, IQN) as session:
            session.read_capacity()
            for number in range(20):
                session.read(number * SIZE, SIZE)
            session.logout()
        slow = """() => window.page.cards[0]?.data?.columns.map((column, at) => ({column, at}))
            .find(({column}) => column && column.backstore > 15e6)"""
        waited(tab, slow)
        tab.keyboard.press(" ")  # so that its place is that of the picture
        found = tab.evaluate(slow)
        assert set(found["column"]) <= {"backstore", "sending"}
        assert found["column"]["backstore"] > 20e6 * 15 / 16  # a bucket's middle
        assert set(table(tab, 0)) == {"backstore", "sending"}
        colour = tab.evaluate(
            """(at) => { const card = window.page.cards[0], {frame} = card;
                const x = Math.round((frame.edge(at) + frame.edge(at + 1)) / 2), y = frame.bottom - 5;
                const ratio = card.base.width / frame.width;
                return [...card.base.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3); }""",
            found["at"],
        )
        assert max(colour) - min(colour) > 40  # a key's colour, no background


def test_a_stack_has_each_key_above_the_one_before(place: Place, browser: Browser) -> None:
    """Six clients have the same part of it; and numbers have their units."""
    _, end = filled(place, 120, 0)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&span=60&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        found = tab.evaluate(
            """async (keys) => {
                const {keyColour} = await import("/page/palette.js");
                const card = window.page.cards[0], {frame} = card, ratio = card.base.width / frame.width;
                const x = (frame.edge(30) + frame.edge(31)) / 2, high = (frame.bottom - frame.top) / 1.05;
                const context = card.base.getContext("2d");
                return keys.map((key, at) => {
                    const y = frame.bottom - high * (at + 0.5) / keys.length;
                    const pixel = context.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data;
                    const hex = [...pixel].slice(0, 3).map((part) => part.toString(16).padStart(2, "0")).join("");
                    return [`#${hex}`, keyColour("client", key)];
                });
            }""",
            list(simulated.CLIENTS),
        )
        assert len({colour for colour, _ in found}) == 6
        assert all(there == wanted for there, wanted in found)
        units = tab.evaluate(
            """async () => { const {shown} = await import("/page/units.js");
                return [shown(1500, "ns"), shown(25e6, "ns"), shown(90 * 2 ** 20, "bytes per second")]; }"""
        )
        assert units == ["1.50 us", "25 ms", "90 MiB/s"]
        ends = tab.evaluate(
            """async () => { const {colourOf} = await import("/page/palette.js");
                return [[1, false], [100, false], [1, true]].map(([n, dark]) => colourOf(n, 100, false, dark)); }"""
        )
        assert ends == ["#70ce57", "#440154", "#35608d"]  # the scale at 0.78, 0 and 0.3


def test_a_heat_map_has_each_cell_in_its_colour(place: Place, browser: Browser) -> None:
    begin, end = filled(place, 120, 60)
    analytics = place.analytics()
    where = f"#g=latencies&g=places&span=100&end={end}"
    for width, dark, scale in ((1280, False, 1), (400, True, 2)):
        with browser.page(analytics.url + where, width, dark=dark, scale=scale) as tab:
            waited(tab, "() => window.page.cards.every((card) => card.frame)")
            checked = 0
            for card in (0, 1):
                data = tab.evaluate("([card]) => window.page.cards[card].data", [card])
                assert (data["begin"], data["step"]) == (end - 100, 1)
                for at in range(0, 100, 7):
                    for bucket in data["columns"][at]["c"][0::2]:
                        assert cell(tab, card, end - 100 + at, bucket) == wanted(tab, card, end - 100 + at, bucket)
                        checked += 1
            assert checked > 300
    assert begin < end - 100


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


def test_at_400_pixels_nothing_is_beside_the_screen(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    where = f"#g=latencies+by:lun&g=operations+by:initiator&span=60&end={end}"
    with browser.page(analytics.url + where, width=400, dark=True) as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= 400
        for button in ("#pause", "#back", "#forward", "#in", "#out", "#theme"):
            assert tab.locator(button).bounding_box()["height"] >= 30
        tab.locator("#theme").click()
        assert tab.evaluate("() => document.documentElement.dataset.theme") == "light"


def test_a_name_that_an_initiator_chose_is_only_text(place: Place, browser: Browser) -> None:
    end = int(time.time()) - 30
    nasty = 'iqn.2026-11.example:<img src=x onerror="alert(1)">&%20=!'
    store = Store(place.folder / "history.db")
    series = simulated.series_for(0, "READ(16)")._replace(initiator=nasty)
    tally = next(iter(simulated.second(random.Random(1), False).values()))
    for t in range(end - 20, end):
        store.add(simulated.SERVER, t, {series: tally})
    store.close()
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:initiator&span=20&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        assert list(table(tab, 0)) == [nasty]
        tab.locator("tbody button").click()
        waited(tab, "() => window.page.cards[0].question.filters.length === 1")
        assert tab.locator("img").count() == 0
        sent = tab.url
    with browser.page(sent) as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        assert list(table(tab, 0)) == [nasty]


def test_servers_that_go_and_come_and_a_page_that_waits_for_them(place: Place, browser: Browser) -> None:
    portal = place.target("0=ram:1M")
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&span=60") as tab:
        waited(tab, "() => document.querySelector('#status').textContent === 'attached to disks'")
        place._processes[0].end(signal.SIGKILL)
        waited(tab, "() => document.querySelector('#status').textContent.startsWith('no server runs')")
        place.target("0=ram:1M", port=portal[1])
        waited(tab, "() => document.querySelector('#status').textContent === 'attached to disks'")
        waited(tab, "() => window.page.cards[0].data.columns.includes(null)")  # nobody watched meanwhile
        analytics.end(signal.SIGKILL)
        waited(tab, "() => document.querySelector('#status').textContent.includes('does not answer')")
        again = Analytics(place.folder, "--listen", f"127.0.0.1:{analytics.port}", "disks")
        try:
            waited(tab, "() => document.querySelector('#status').textContent === 'attached to disks'")
        finally:
            again.end()


def test_a_token_in_the_link_is_not_in_the_address_afterwards(place: Place, browser: Browser) -> None:
    analytics = place.analytics("--token", "token")
    with browser.page(analytics.where + "&g=logins") as tab:
        waited(tab, "() => window.page.cards[0].data")
        assert "token" not in tab.url
        assert "g=logins" in tab.url
        assert tab.evaluate("() => document.cookie") == ""


def test_a_day_of_history(place: Place, browser: Browser) -> None:
    """24 hours, told every minute: the day before at the same hour, an hour's minutes, and the last hour's seconds."""
    end = int(time.time()) // 60 * 60
    store = Store(place.folder / "history.db")
    simulated.fill(store, end - 25 * 3600, end, end - 1800, step=60)
    store.close()
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&g=latencies&span=86400&end={end}") as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        data = tab.evaluate("() => window.page.cards[0].data")
        assert data["step"] == 300
        assert all(column is not None for column in data["columns"])
        quiet = data["columns"][10]
        assert quiet == dict.fromkeys(simulated.CLIENTS, 1)  # 60 a minute
        assert data["columns"][-2]["192.0.2.14"] == 2.5
        tab.locator("#span").select_option("3600")
        tab.locator("#compare").check()
        waited(tab, "() => window.page.cards[0].before && window.page.cards[0].data.step < 60")
        assert "the day before 6" in tab.locator(".readout").first.inner_text()
        tab.evaluate("([end]) => window.page.go(3600, end)", [end - 12 * 3600])
        waited(tab, "() => window.page.cards[0].data.step === 60")


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
        tab.get_by_role("menuitem", name="The 1 commands of").click()
        listed = tab.locator(".commands")
        listed.wait_for()
        assert "4096+8" in listed.inner_text()
        listed.locator("summary").click()
        assert "scsi-command" in listed.inner_text()
        assert "data-send" in listed.inner_text()
