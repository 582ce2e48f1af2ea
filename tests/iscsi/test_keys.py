"""The key table, and that docs/login.md says of every key what the table says."""

from __future__ import annotations

import pytest

from iscsitools.config.model import Limits
from iscsitools.server.assemble import negotiation_limits
from iscsitools.wire.keys import KEYS, Rule, Side, Type, When

SENDERS = {Side.INITIATOR: "initiator", Side.TARGET: "target", Side.BOTH: "both"}
WHEN = {
    When.SECURITY: "security",
    When.OPERATIONAL: "operational",
    When.LOGIN: "login",
    When.FULL_FEATURE: "full feature",
    When.ANY: "any time",
}
RULES = {Rule.AUTHENTICATION: "exchange", Rule.OBSOLETE: "obsolete"}


def said(value):
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def row(key):
    """The row of the documentation's table that belongs to ``key``."""
    values = f"{key.low} to {key.high}" if key.type is Type.NUMBER else key.type.value
    if key.type is Type.BOOLEAN:
        values = "Yes, No"
    ours = said(getattr(negotiation_limits(Limits()), key.attribute)) if key.attribute else ""
    cells = [
        f"`{key.name}`", key.section, SENDERS[key.sender], WHEN[key.when], RULES.get(key.rule, key.rule.value), values,
        key.default, ours, "" if not key.normal_only else "Irrelevant",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |".replace("  ", " ")


@pytest.fixture(scope="module")
def page(request):
    return (request.config.rootpath / "docs" / "login.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", KEYS)
def test_documented(name, page):
    assert row(KEYS[name]) in page.splitlines()


def test_nothing_else_is_documented(page):
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == list(KEYS)


def test_the_keys_of_the_standard_are_there():
    chapters = {key.section for key in KEYS.values()}
    assert chapters >= {f"13.{section}" for section in (*range(1, 22), 23, 24, 25)}


def test_negotiated_keys_have_a_range_or_a_default():
    for key in KEYS.values():
        if key.rule in (Rule.MIN, Rule.MAX):
            assert key.type is Type.NUMBER
            assert key.low < key.high < 1 << 24
        if key.rule in (Rule.AND, Rule.OR):
            assert key.type is Type.BOOLEAN
            assert key.default in ("Yes", "No")
        if key.attribute:
            assert key.default
