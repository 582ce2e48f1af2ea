"""The page in a real browser: what it shows of a load with known numbers."""

from __future__ import annotations

import random
import signal
import time

import simulated_load as simulated
from iscsitools.initiator import Session
from page_lab import IQN, SIZE, Analytics, Browser, Place, cell, filled, table, waited, wanted

from iscsitools_analytics.store import Store


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


def test_a_breakdown_by_hour_of_the_day(place: Place, browser: Browser) -> None:
    """Two days: what came at the same hour of either is one row; a click shows that hour alone, and leaves it out."""
    end = int(time.time()) // 86400 * 86400
    store = Store(place.folder / "history.db")
    for t in range(end - 2 * 86400 + 599, end, 600):
        store.add(simulated.SERVER, t, simulated.second(random.Random(t), t // 3600 % 24 == 14), t - 599)
    store.close()
    analytics = place.analytics()
    where = f"#g=operations+by:hour&g=latencies+by:hour&span={2 * 86400}&end={end}"
    with browser.page(analytics.url + where) as tab:
        waited(tab, "() => window.page.cards.every((card) => card.frame)")
        for card in (0, 1):
            rows = table(tab, card)
            assert sorted(rows) == [f"{hour:02}:00" for hour in range(24)]
            assert next(iter(rows)) == "14:00"  # 90 more in a second that is told
        tab.locator("tbody").nth(1).get_by_role("button", name="14:00").click()
        waited(tab, "() => window.page.cards[1].question.filters.length === 1 && window.page.cards[1].frame")
        waited(tab, "() => window.page.cards[1].drawing.rows(null).length === 1")
        assert list(table(tab, 1)) == ["14:00"]
        tab.locator("tbody").nth(1).get_by_role("button", name="14:00").click()
        waited(tab, "() => window.page.cards[1].drawing.rows(null).length === 23")


def test_a_history_without_a_server_is_no_alarm(place: Place, browser: Browser) -> None:
    _, end = filled(place, 60, 20)
    analytics = place.analytics()
    with browser.page(f"{analytics.url}#g=operations+by:client&span=60&end={end}") as tab:
        said = waited(tab, "() => window.page.names && document.querySelector('#status').textContent")
        assert said == "the history of before; no server runs now"
        assert tab.locator("#status.bad").count() == 0
        tab.locator("#pause").click()  # live: then it is one
        waited(tab, "() => document.querySelector('#status.bad')?.textContent === 'no server runs that may be watched'")
        tab.locator("#pause").click()
        waited(tab, "() => document.querySelector('#status').className === ''")
