"""The page's colours as people see them whose eyes lack a kind of cone (Machado, Oliveira, Fernandes 2009)."""

from __future__ import annotations

import itertools
import math
import re
from importlib.resources import files

import pytest

SIGHTS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""What becomes of linear red, green and blue."""
APART = 15.0
"""The least difference (CIE 1976) of two keys' colours; one of 2.3 is just noticed."""
Colour = tuple[float, ...]


def colours(name: str) -> list[str]:
    text = (files("iscsitools_analytics") / "page" / "palette.js").read_text()
    found = re.search(rf"const {name} = \[(.*?)\]", text, re.DOTALL)
    assert found is not None
    return re.findall(r'"(#[0-9a-f]{6})"', found[1])


def linear(colour: str) -> Colour:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)


def lab(colour: str, sight: str) -> Colour:
    """CIE L*a*b* (D65) of what is seen."""
    seen = [sum(a * b for a, b in zip(row, linear(colour), strict=True)) for row in SIGHTS[sight]]
    red, green, blue = (min(max(part, 0), 1) for part in seen)
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_keys_look_alike(sight: str) -> None:
    keys = colours("KEYS")
    assert len(keys) == 8
    seen = {key: lab(key, sight) for key in keys}
    close = {
        (one, other): math.dist(seen[one], seen[other])
        for one, other in itertools.combinations(keys, 2)
        if math.dist(seen[one], seen[other]) < APART
    }
    assert not close


@pytest.mark.parametrize("sight", SIGHTS)
def test_more_is_lighter_all_the_way(sight: str) -> None:
    lightness = [lab(colour, sight)[0] for colour in colours("VIRIDIS")]
    assert len(lightness) == 17
    assert all(later - earlier > 1.5 for earlier, later in itertools.pairwise(lightness))
