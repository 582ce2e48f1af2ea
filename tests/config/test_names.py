"""iSCSI names (RFC 7143 4.2.7, RFC 3722) and portals."""

from __future__ import annotations

import re

import pytest

from iscsitools.config import PortalConfig, fold_name, iscsi_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("iqn.2026-11.example:disks", "iqn.2026-11.example:disks"),
        ("iqn.2026-11.com.example", "iqn.2026-11.com.example"),
        ("IQN.2026-11.Example:Disks", "iqn.2026-11.example:disks"),
        ("iqn.2001-04.com.example:storage:disk2.sys1.xyz", "iqn.2001-04.com.example:storage:disk2.sys1.xyz"),
        ("iqn.2026-11.example:Straße", "iqn.2026-11.example:strasse"),
        ("eui.02004567A425678D", "eui.02004567a425678d"),
        ("naa.52004567BA64678D", "naa.52004567ba64678d"),
        ("naa.62004567BA64678D0123456789ABCDEF", "naa.62004567ba64678d0123456789abcdef"),
    ],
)
def test_good_names_are_folded(text: str, name: str) -> None:
    assert iscsi_name(text) == name
    assert fold_name(text) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no iSCSI name"),
        ("disk", "is no iSCSI name"),
        ("iqn.2026-13.example", "13 is no month"),
        ("iqn.2026.example", "has not the form"),
        ("iqn.2026-11.", "has not the form"),
        ("iqn.2026-11.example:", "nothing follows the colon"),
        ("iqn.2026-11.-x", "no reversed domain name"),
        ("iqn.2026-11.a..b", "no reversed domain name"),
        ("iqn.2026-11.example:a b", "cannot contain ' '"),
        ("iqn.2026-11.example:a_b", "cannot contain '_'"),
        ("iqn.2026-11.example:a\nb", "cannot contain '\\n'"),
        ("iqn.2026-11.example:" + "x" * 204, "at most 223 bytes"),
        ("eui.0200", "16 hexadecimal digits"),
        ("naa.52004567BA64678", "16 or 32"),
    ],
)
def test_bad_names_say_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        iscsi_name(text)


def test_longest_name() -> None:
    name = "iqn.2026-11.example:" + "x" * 203
    assert iscsi_name(name) == name


@pytest.mark.parametrize(
    ("text", "portal", "shown"),
    [
        ("127.0.0.1", PortalConfig("127.0.0.1", 3260), "127.0.0.1:3260"),
        ("127.0.0.1:0", PortalConfig("127.0.0.1", 0), "127.0.0.1:0"),
        ("storage.example:3261", PortalConfig("storage.example", 3261), "storage.example:3261"),
        ("::1", PortalConfig("::1", 3260), "[::1]:3260"),
        ("[::1]", PortalConfig("::1", 3260), "[::1]:3260"),
        ("[fe80::1%eth0]:65535", PortalConfig("fe80::1%eth0", 65535), "[fe80::1%eth0]:65535"),
    ],
)
def test_portals(text: str, portal: PortalConfig, shown: str) -> None:
    assert PortalConfig.parse(text) == portal
    assert str(portal) == shown
    assert PortalConfig.parse(shown) == portal


@pytest.mark.parametrize(
    "text",
    ["", ":3260", "1.2.3:1", "300.1.1.1", "h:65536", "h:-1", "h:x", "h:", "[::1", "[::1]3260", "[h]:1", "1:2:3", "a b"],
)
def test_what_is_no_portal(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|expected"):
        PortalConfig.parse(text)


@pytest.mark.parametrize("text", ["::1:3260", "2001:db8::7:860", "fe80::1%eth0:3260"])
def test_an_address_that_was_meant_to_have_a_port(text: str) -> None:
    host, _, port = text.rpartition(":")
    with pytest.raises(ValueError, match=re.escape(f"write [{host}]:{port} for a port")):
        PortalConfig.parse(text)
    assert PortalConfig.parse(f"[{host}]:{port}") == PortalConfig(host, int(port))


@pytest.mark.parametrize("text", ["2001:db8::7:8", "2001:db8::1:03e8", "1:2:3:4:5:6:7:3260"])
def test_an_address_that_can_be_nothing_else(text: str) -> None:
    assert PortalConfig.parse(text) == PortalConfig(text)
