from __future__ import annotations

import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.backstores import values
from iscsitools.backstores.base import BackstoreError, Filter, Option
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.registry import Registry
from iscsitools.backstores.spec import FilterSpec, SpecError, StackSpec, build, parse_spec
from iscsitools.plugins import PluginManager

S, F = StackSpec, FilterSpec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("ram:64M", S("ram", "64M")),
        ("file:disk.img,size=1G,thin=yes", S("file", "disk.img", {"size": "1G"}, (), {"thin": "yes"})),
        (
            "file+cow+delay:disk.img,size=1G,delay.read=5ms",
            S("file", "disk.img", {"size": "1G"}, (F("cow"), F("delay", {"read": "5ms"}))),
        ),
        (r"file:odd\,name.img,size=1M", S("file", "odd,name.img", {"size": "1M"})),
        (r"file:C:\dir\\,size=1M", S("file", "C:\\dir\\", {"size": "1M"})),
        ("http:https://u:p@h/a=b?c", S("http", "https://u:p@h/a=b?c")),
        (r"http:x,header=A: b\, c=d", S("http", "x", {"header": "A: b, c=d"})),
        (
            "ram+delay+delay:1M,delay.read=1s,delay2.read=2s",
            S("ram", "1M", {}, (F("delay", {"read": "1s"}), F("delay", {"read": "2s"}))),
        ),
        ("ram+a+a2:1M,a2.x=1", S("ram", "1M", {}, (F("a"), F("a2", {"x": "1"})))),
        ("null:", S("null", "")),
    ],
)  # fmt: skip
def test_what_a_spec_says(text: str, spec: StackSpec) -> None:
    assert parse_spec(text) == spec
    assert hash(parse_spec(text)) == hash(spec)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("disk.img", "written KIND:WHAT"),
        (":x", "a name is missing"),
        ("file+:x", "a name is missing"),
        ("file:x,size", "'size' is not key=value"),
        ("file:x,=1", "'=1' is not key=value"),
        ("file:x,size=1M,size=2M", "size is given twice"),
        ("file+cow:x,cow.file=a,cow.file=b", "cow.file is given twice"),
        ("file:x,delay.read=1s", "no filter 'delay' in it"),
        ("file+delay:x,delay2.read=1s", "no filter 'delay2' in it"),
    ],
)
def test_what_is_wrong_with_a_spec_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fil:x", r"unknown backstore 'fil'; did you mean 'file'\? \(known: (\w+, )*file\b"),
        ("ram+dely:1M", "unknown filter 'dely'; did you mean 'delay'"),
        ("file:x,sise=1M", "file has no option 'sise'; did you mean 'size'"),
        ("file:x,block_siz=1", "did you mean 'block_size'"),
        ("ram+delay:1M,delay.raed=1s", "delay has no option 'delay.raed'; did you mean 'read'"),
        ("file:x,size=big", "file: size: 'big' is no size"),
        ("ram+error:1M,error.read=2", "error: error.read: '2' is not between 0 and 1"),
        ("ram:", "ram: '' is no size"),
        ("null:0", "null: the size is 0"),
    ],
)
def test_what_cannot_be_built_is_one_line(manager: PluginManager, text: str, complaint: str) -> None:
    with pytest.raises(BackstoreError, match=complaint):
        build(parse_spec(text), manager.registry)


@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(3), GeneratorExit()], ids=repr)
def test_a_plugin_whose_option_or_class_raises_is_named(manager: PluginManager, error: BaseException) -> None:
    def parse(text: str) -> str:
        raise error

    class Odd(NullBackstore):
        kind = "odd"
        options = (Option("x", parse, "", "raises"),)

        def __init__(self, what: str, x: str) -> None:
            raise error

    registry = Registry()
    registry.add_backstore(Odd)
    with pytest.raises(BackstoreError, match=f"odd: x: its parser failed: {type(error).__name__}"):
        build(parse_spec("odd:1M,x=1"), registry)
    with pytest.raises(BackstoreError, match=f"odd: cannot be made: {type(error).__name__}"):
        build(parse_spec("odd:1M"), registry)


def test_filters_wrap_left_to_right_and_know_their_source(manager: PluginManager) -> None:
    store = build(parse_spec("ram+readonly+delay:1M,thin=yes"), manager.registry)
    assert isinstance(store, Filter)
    assert isinstance(store.inner, Filter)
    assert [store.kind, store.inner.kind, store.inner.inner.kind] == ["delay", "readonly", "ram"]
    assert store.source == "1M"


def test_typed_values_are_taken_as_their_texts_would_be(manager: PluginManager) -> None:
    spec = StackSpec("file", "x", {"size": 4096, "direct": True}, (FilterSpec("error", {"read": 0.5, "seed": 3}),))
    build(spec, manager.registry)
    with pytest.raises(SpecError, match="'4096' is neither yes nor no"):
        build(StackSpec("file", "x", {"direct": 4096}), manager.registry)
    with pytest.raises(SpecError, match="a list cannot be an option's value"):
        build(StackSpec("file", "x", {"size": []}), manager.registry)  # type: ignore[dict-item]


@given(st.text(max_size=60))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(parse_spec(text), StackSpec)


@given(st.text(alphabet=st.characters(exclude_characters="\\")), st.text())
def test_escaped_text_comes_back(what: str, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,")
    spec = parse_spec(f"file:{what.replace(',', chr(92) + ',')},key={escaped}")
    assert (spec.what, spec.options["key"]) == (what, value)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.size, "512", 512),
        (values.size, "64M", 64 << 20),
        (values.size, "1g", 1 << 30),
        (values.size, "2KiB", 2048),
        (values.size, "3TB", 3 << 40),
        (values.duration, "5ms", 0.005),
        (values.duration, "0", 0.0),
        (values.duration, "1.5s", 1.5),
        (values.duration, "2m", 120.0),
        (values.duration, "1440m", 86400.0),
        (values.duration, "250us", 0.00025),
        (values.yes_no, "YES", True),
        (values.yes_no, "off", False),
        (values.integer, "0x10", 16),
        (values.fraction, "10%", 0.1),
        (values.fraction, "1", 1.0),
        (values.errno, "enospc", errno.ENOSPC),
        (values.byte_ranges, "1K+512/0+1M", ((1024, 512), (0, 1 << 20))),
        (values.choice("a", "b"), "b", "b"),
        (values.text, "", ""),
    ],
)
def test_values(parse: object, text: str, value: object) -> None:
    assert parse(text) == value  # type: ignore[operator]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.size, "-1"), (values.size, "1.5G"), (values.size, ""), (values.size, "9999P"),
        (values.size, "\u0666\u0664M"), (values.size, "64\u212a"), (values.integer, "\u0663"),
        (values.fraction, "\u0660.\u0665"), (values.duration, "\u0665ms"), (values.duration, "5"),
        (values.duration, "-5ms"), (values.duration, "86401s"), (values.duration, "9" * 400 + "m"),
        (values.yes_no, "perhaps"), (values.integer, "1e3"), (values.fraction, "101%"),
        (values.fraction, "nan"), (values.fraction, "x"), (values.path, ""), (values.path, "a\0b"),
        (values.errno, "EWHAT"), (values.errno, "errorcode"), (values.byte_ranges, "5"), (values.byte_ranges, "5+0"),
        (values.choice("a", "b"), "c"), (values.positive(values.size), "0"),
    ],
)  # fmt: skip
def test_values_that_are_none(parse: object, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)  # type: ignore[operator]
