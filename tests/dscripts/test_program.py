"""D programs of others, made to run here: provider names, open probe names, `$target`, the kernel's arguments."""

from __future__ import annotations

import pytest

from iscsitools.dtrace.program import adapt, defines_types, interpreter_options
from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.errors import RunError
from iscsitools.probes.table import PROVIDER_PROBES

ALL = ", ".join(f"iscsi*:::{probe.label}" for probe in PROVIDER_PROBES)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("iscsi:::scsi-command { }", "iscsi*:::scsi-command { }"),
        ("iscsi:::a,\niscsi:::b\n/x/{ }", "iscsi*:::a,\niscsi*:::b\n/x/{ }"),
        ("BEGIN,iscsi:::a{}tick-1s{}iscsi:::b{}", "BEGIN,iscsi*:::a{}tick-1s{}iscsi*:::b{}"),
        ("iscsi:::a", "iscsi*:::a"),
        ("iscsi*:::a { } iscsi123:::b { }", "iscsi*:::a { } iscsi123:::b { }"),
        ("iscsi:iscsit::a { }", "iscsi*:iscsit::a { }"),
        ("inline int x = 1; iscsi:::a { }", "inline int x = 1; iscsi*:::a { }"),
        ("typedef struct { int x; } t; iscsi:::a { if (1) { y = 1; } } iscsi:::b { }",
         "typedef struct { int x; } t; iscsi*:::a { if (1) { y = 1; } } iscsi*:::b { }"),
        # No probe descriptions: comments, strings, preprocessor lines, statements, other providers.
        ("/* iscsi:::a */ BEGIN { x = \"iscsi:::a{\"; }", "/* iscsi:::a */ BEGIN { x = \"iscsi:::a{\"; }"),
        ("#define A iscsi:::a\nBEGIN { }", "#define A iscsi:::a\nBEGIN { }"),
        ("BEGIN { this->x = y ? iscsi:z; }", "BEGIN { this->x = y ? iscsi:z; }"),
        ("iscsit:::a { } myiscsi:::a { } fbt::iscsi_x:entry { }",
         "iscsit:::a { } myiscsi:::a { } fbt::iscsi_x:entry { }"),
    ],
)  # fmt: skip
def test_the_provider_s_name(text: str, made: str) -> None:
    assert adapt(text, "x.d") == made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("iscsi*::: { }", f"{ALL} {{ }}"),
        ("iscsi::: /args[1]->ii_lun/ { }", f"{ALL} /args[1]->ii_lun/ {{ }}"),
        ("iscsi:::* { }", f"{ALL} {{ }}"),
        ("iscsi:::xfer-*,BEGIN{}", "iscsi*:::xfer-start, iscsi*:::xfer-done,BEGIN{}"),
        ("iscsi:::scsi-command { }", "iscsi*:::scsi-command { }"),
        ("iscsi:::no-* { }", "iscsi*:::no-* { }"),
    ],
)
def test_open_names_are_written_out_where_dtrace_wants_them(text: str, made: str) -> None:
    assert adapt(text, "x.d", write_out=True) == made


def test_elsewhere_they_stay_open() -> None:
    assert adapt("iscsi::: { }", "x.d") == "iscsi*::: { }"


def test_one_process() -> None:
    text = 'iscsi:::a, iscsi*:::b, iscsi$target:::c, iscsi7:::d\n/pid == $target/\n{ printf("$target"); @[$target]++; }'
    made = 'iscsi42:::a, iscsi42:::b, iscsi42:::c, iscsi7:::d\n/pid == 42/\n{ printf("$target"); @[42]++; }'
    assert adapt(text, "x.d", 42) == made


def test_every_line_keeps_its_number() -> None:
    text = "\n/* two\nlines */\niscsi:::\n{\n\tx = 1;\n}\n"
    assert adapt(text, "x.d", write_out=True).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("iscsi:::xfer-start {\n start[arg1] = 1; }", "x.d, line 2: arg1 .* args\\[2\\]->xfer_laddr"),
        ("iscsi:::xfer-done { if (1) { x = 1; } y = arg2; }", "arg2 .* args\\[2\\]->xfer_loffset"),
        ("iscsi:::xfer-done /arg8/ { }", "arg8 .* args\\[2\\]->xfer_type \\(0 for a read, 1 for a write\\)"),
        ("iscsi*:::xfer-* { x = arg6; }", "arg6 .* args\\[2\\]->xfer_len"),
        ("iscsi:::scsi-command { x = arg2; }", "args\\[2\\]->ic_cdb"),
        ("iscsi:::nop-receive { x = arg1; }", "a member of args\\[1\\]"),
        ("iscsi:::login-command { x = arg0; }", "args\\[0\\]->ci_remote"),
        ("iscsi::: { x = arg1; }", "a member of args\\[1\\]"),
    ],
)
def test_an_argument_of_the_kernel_s_is_an_error_that_names_the_member(text: str, says: str) -> None:
    with pytest.raises(RunError, match=says):
        adapt(text, "x.d")


def test_each_such_argument_is_named_once() -> None:
    text = 'iscsi:::xfer-start { start[arg1] = 1; }\niscsi:::xfer-done /start[arg1]/ { @[arg8 ? "r" : "w"] = count(); }'
    with pytest.raises(RunError) as caught:
        adapt(text, "x.d")
    assert ["arg1" in caught.value.lines[0], "arg8" in caught.value.lines[1], len(caught.value.lines)] == [
        True,
        True,
        2,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "syscall::read:entry { x = arg1; }",
        "iscsi:::a { x = args[1]->ii_itt; }",
        'iscsi:::a { printf("arg1"); /* arg8 */ }',
        "iscsi*:::a { this->p = (uiscsiproto_t *)arg0; }",
        "iscsi*:::a { x = *(uint64_t *)copyin(arg0 + 32, 8); }",
    ],
)
def test_other_arguments_are_not(text: str) -> None:
    adapt(text, "x.d")


def test_our_own_scripts_stay_as_they_are() -> None:
    for file in DSCRIPTS.glob("*.d"):
        assert adapt(file.read_text(), file.name, write_out=True) == file.read_text()


def test_options_of_the_first_line() -> None:
    assert interpreter_options("#!/usr/sbin/dtrace -Zqs\n") == ["-Z", "-q"]
    assert interpreter_options("#!/usr/sbin/dtrace -s\n#!/usr/sbin/dtrace -q\n") == []
    assert interpreter_options("#!/bin/sh -q\n") == []


def test_a_script_with_the_library_s_own_types(project: object) -> None:
    assert defines_types("typedef struct uiscsiproto {\n\tint x;\n} uiscsiproto_t;\n")
    assert not defines_types("/* } uiscsiproto_t; */ BEGIN { x = (uiscsiproto_t *)0; }")
