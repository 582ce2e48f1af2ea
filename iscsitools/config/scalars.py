"""The types of single values of a configuration: what each is called, and how its text becomes the value."""

from __future__ import annotations

import grp
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from iscsitools.backstores import values
from iscsitools.config.names import PortalConfig, iscsi_name


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. ``parse`` turns text into it, or raises ValueError with the reason.

    ``natives``: the TOML types that may stand for the text, as 4096 for "4096".
    """

    label: str
    parse: Callable[[str], Any]
    natives: tuple[type, ...] = ()

    @property
    def expects(self) -> str:
        """The label with an article, for messages."""
        if self.label[0] == '"' or self.label[0].isdigit():
            return f"one of {self.label}" if "," in self.label else f"a number of {self.label}"
        return self.label if self is BOOLEAN else f"{'an' if self.label[0] in 'aioA' else 'a'} {self.label}"


_DESIGNATOR = re.compile(r"[235][0-9a-fA-F]{15}")
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = values.integer(text)
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most}")
        return value

    return parse


def integer(least: int, most: int) -> Scalar:
    """A whole number."""
    return Scalar(f"{least} to {most}", _integer(least, most), (int,))


def integer_or_auto(least: int, most: int) -> Scalar:
    """A whole number, or 0 written as "auto"."""
    parse = _integer(least, most)
    return Scalar(f'{least} to {most} or "auto"', lambda text: 0 if text == "auto" else parse(text), (int,))


def size(least: int, most: int, multiple: int = 1) -> Scalar:
    """A number of bytes, of which K, M, G, T and P are understood."""

    def parse(text: str) -> int:
        value = values.size(text)
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most} bytes")
        if value % multiple:
            raise ValueError(f"{value} is no multiple of {multiple}")
        return value

    return Scalar("size", parse, (int,))


def _seconds(text: str) -> float:
    value = float(text) if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text) else values.duration(text)
    if value > 86400:
        raise ValueError(f"{text!r} is more than a day")
    return value


def _block_size(least: int, most: int, zero: bool) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = values.size(text)
        if not (zero and value == 0) and not (least <= value <= most and value & (value - 1) == 0):
            raise ValueError(f"{value} is no power of two from {least} to {most}")
        return value

    return parse


def enum_choice(kind: type[Enum], *words: str) -> Scalar:
    """One of the members of ``kind``, written by its value, or by ``words`` in the members' order."""
    members: dict[str, Enum] = dict(zip(words or [m.value for m in kind], kind, strict=True))

    def parse(text: str) -> Enum:
        return members[values.choice(*members)(text)]

    return Scalar(", ".join(f'"{w}"' for w in members), parse)


def choice(*words: str) -> Scalar:
    """One of ``words``."""
    return Scalar(", ".join(f'"{w}"' for w in words), values.choice(*words))


def _cache(text: str) -> bool:
    return values.choice("writeback", "writethrough")(text) == "writeback"


ACCESS_STATES: Final = ("optimized", "non-optimized", "standby", "unavailable")


def _access(text: str) -> tuple[int, str]:
    group, equals, state = text.partition("=")
    if not equals or not re.fullmatch(r"[0-9]{1,5}", group) or not 1 <= int(group) <= 65535:
        raise ValueError(f"{text!r}: GROUP=STATE was expected, as 2=standby")
    return int(group), values.choice(*ACCESS_STATES)(state)


def _mapped(text: str) -> tuple[int, int]:
    lun, equals, number = text.partition("=")
    number = number if equals else lun
    if not (re.fullmatch(r"[0-9]{1,5}", lun) and re.fullmatch(r"[0-9]{1,5}", number)):
        raise ValueError(f"{text!r}: LUN=NUMBER was expected, as 0=7: their LUN 0 is our LUN 7")
    if max(int(lun), int(number)) > 16383:
        raise ValueError(f"{text!r}: a LUN is not more than 16383")
    return int(lun), int(number)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no network as 192.0.2.0/24 or 2001:db8::/32: {error}") from None


def _reservations(text: str) -> bool:
    return values.choice("aptpl", "keep")(text) == "keep"


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("the text is empty")
    return text


def _key_value(text: str) -> str:
    # A null character ends a key=value pair (RFC 7143 6.1): what follows it would be another pair.
    if "\0" in text:
        raise ValueError("a null character cannot be sent to an initiator (RFC 7143 6.1)")
    return text


def _chap_name(text: str) -> str:
    return _key_value(_not_empty(text))


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} is no name: up to 64 letters, digits, '.', '_' and '-', the first no sign")
    return text


def _serial(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        raise ValueError(f"{text!r} is no serial number: 1 to 64 printable ASCII characters, no space at the ends")
    return text


def _naa(text: str) -> bytes:
    if not _DESIGNATOR.fullmatch(text):
        raise ValueError(f"{text!r} is no NAA designator: 16 hexadecimal digits, the first of them 2, 3 or 5")
    return bytes.fromhex(text)


def _pattern(text: str) -> str:
    if not re.fullmatch(r"(?:iqn|eui|naa|[*?\[]).*", text, re.IGNORECASE | re.DOTALL):
        raise ValueError(f"{text!r} matches no initiator: their names begin with 'iqn.', 'eui.' or 'naa.'")
    return text.lower()


def _group(text: str) -> str:
    try:
        grp.getgrnam(text)
    except KeyError:
        raise ValueError(f"there is no group {text!r} on this machine") from None
    return text


def _alias(text: str) -> str:
    if len(text.encode()) > 255:
        raise ValueError("an alias has at most 255 bytes (RFC 7143 13.6)")
    return _key_value(text)


BOOLEAN: Final = Scalar("yes or no", values.yes_no, (bool,))
SECONDS: Final = Scalar("seconds", _seconds, (int, float))
BLOCK_SIZE: Final = Scalar("512, 1024, 2048 or 4096", _block_size(512, 4096, False), (int,))
PHYSICAL_BLOCK_SIZE: Final = Scalar("size", _block_size(512, 1 << 20, True), (int,))
CACHE: Final = Scalar('"writeback", "writethrough"', _cache)
ACCESS: Final = Scalar("GROUP=STATE", _access)
MAPPED: Final = Scalar("LUN=NUMBER", _mapped)
NETWORK: Final = Scalar("network", _network)
RESERVATIONS: Final = Scalar('"aptpl", "keep"', _reservations)
TEXT: Final = Scalar("text", _not_empty)
SECRET: Final = Scalar("text", _not_empty)
CHAP_NAME: Final = Scalar("text", _chap_name)
ALIAS: Final = Scalar("text", _alias)
NAME: Final = Scalar("name", _word)
SERIAL: Final = Scalar("text", _serial)
NAA: Final = Scalar("text", _naa)
IQN: Final = Scalar("iSCSI name", iscsi_name)
PORTAL: Final = Scalar("ADDRESS:PORT", PortalConfig.parse)
PATTERN: Final = Scalar("pattern", _pattern)
GROUP: Final = Scalar("group name", _group)


_TOML_NAMES: Final = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "an array",
    dict: "a table",
    type(None): "null",
}


def type_name(value: object) -> str:
    """What TOML calls the type of ``value``, for messages."""
    return _TOML_NAMES.get(type(value), "a date or time")
