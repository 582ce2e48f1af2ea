"""Reading files: what is right becomes a Config, what is wrong is told by line and key."""

from __future__ import annotations

import grp
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores.spec import FilterSpec, StackSpec
from iscsitools.config import Config, ConfigError, Limits, LunConfig, PortalConfig, TargetConfig, load_config
from iscsitools.errors import RunError
from iscsitools.plugins import PluginManager

Load = Callable[[str], tuple[Config, tuple[str, ...]]]
Problems = Callable[[str], tuple[str, ...]]

TARGET = '[[target]]\niqn = "iqn.2026-11.example:a"\n'
LUN = TARGET + "[[target.lun]]\n"


def test_everything_that_can_be_said(load: Load) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    config, warnings = load(
        f"""
        name = "disks"
        portals = ["127.0.0.1:0", "[::1]:3261"]
        log_level = "debug"
        log_format = "json"
        watch_group = "{group}"
        state = "/var/lib/disks"
        limits = {{ max_connections = 3, nop_interval = 0.5, login_timeout = "2m", max_burst_length = "2M" }}
        [[target]]
        iqn = "IQN.2026-11.Example:A"
        alias = "Ä"
        initiators = ["iqn.*:Host?"]
        [[target.lun]]
        store = "ram:1M"
        [[target.lun]]
        number = 0
        store.kind = "file"
        store.what = "a,b.img"
        store.size = "1M"
        store.filters = ["cow", {{ name = "delay", read = "5ms" }}]
        block_size = "4K"
        physical_block_size = 8192
        readonly = true
        thin = false
        removable = "yes"
        cache = "writethrough"
        serial = "S 1"
        reservations = "keep"
        queue_depth = 5
        threads = 2
        """
    )
    assert [line.partition(": ")[2][:26] for line in warnings] == ["target[0].lun[1].removable"]
    stack = StackSpec("file", "a,b.img", {"size": "1M"}, (FilterSpec("cow"), FilterSpec("delay", {"read": "5ms"})))
    assert config == Config(
        "disks",
        (PortalConfig("127.0.0.1", 0), PortalConfig("::1", 3261)),
        (
            TargetConfig(
                "iqn.2026-11.example:a",
                "Ä",
                (
                    LunConfig(0, stack, 4096, 8192, True, False, True, False, "S 1", None, True, 5, 2),
                    LunConfig(1, StackSpec("ram", "1M")),
                ),
                initiators=("iqn.*:host?",),
            ),
        ),
        limits=Limits(max_connections=3, nop_interval=0.5, login_timeout=120.0, max_burst_length=2 << 20),
        log_level="debug",
        log_format="json",
        watch_group=group,
        state="/var/lib/disks",
    )


def test_equal_texts_make_equal_configurations(load: Load) -> None:
    first, _ = load(LUN + 'store = "ram:1M,block_size=4096"')
    second, _ = load(LUN + 'store = { kind = "ram", what = "1M" }\nblock_size = 4096')
    third, _ = load(LUN + 'store = { kind = "ram", what = "2M" }\nblock_size = 4096')
    assert first == second
    assert hash(first) == hash(second)
    assert first != third


def test_numbers_are_given_to_the_luns_that_asked_for_none(load: Load) -> None:
    numbers = [(1, ""), (2, "number = 0"), (3, "")]
    luns = "".join(f'[[target.lun]]\nstore = "ram:{size}M"\n{number}\n' for size, number in numbers)
    config, _ = load(TARGET + luns)
    assert [(lun.number, lun.stack.what) for lun in config.targets[0].luns] == [(0, "2M"), (1, "1M"), (2, "3M")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "a"\nname = "b"\n', ["2: not TOML: Cannot overwrite a value"]),
        ('name = "a\n', ["1: not TOML: "]),
        ("a = [1,\n\n", ["1: not TOML: "]),
        ("a = " + "9" * 5000 + "\n", [" a number in it has too many digits"]),
        ("[target]\n", ["1: target: an array was expected, not a table"]),
        ("", ["1: the key 'target' is missing"]),
        ("target = []\n", ["1: target: at least 1 is needed"]),
        (TARGET + "\nluns = []\n", ["4: target[0].luns: unknown key; did you mean 'lun'?"]),
        (LUN + "number = 0\n", ["3: target[0].lun[0]: the key 'store' is missing"]),
        (LUN + 'store = "ram:1M"\nthreads = 0\n', ["5: target[0].lun[0].threads: 0 is not between 1 and 256"]),
        (LUN + 'store = "ram:1M"\nreadonly = 1\n', ["5: target[0].lun[0].readonly: yes or no was expected"]),
        (LUN + 'store = "ram:1M"\ncache = "none"\n', ["5: target[0].lun[0].cache: 'none' is none of writeback"]),
        (LUN + 'store = "ram:1M"\nserial = "é"\n', ["5: target[0].lun[0].serial: 'é' is no serial number"]),
        (LUN + 'store = "ram:1M"\nblock_size = 520\n', ["5: target[0].lun[0].block_size: 520 is no power of two"]),
        (TARGET + 'alias = "a\\u0000b"\n', ["3: target[0].alias: a null character cannot be sent to an initiator"]),
        (
            TARGET + 'auth = { method = "chap", users = [{ name = "a\\u0000b", secret = "twelve bytes." }] }\n',
            ["3: target[0].auth.users[0].name: a null character cannot be sent to an initiator"],
        ),
        (
            LUN + 'store = "ram:1M,readonly=no"\nreadonly = true\n',
            ["5: target[0].lun[0].readonly: given twice"],
        ),
        (
            LUN + 'store = "ram:1M"\nblock_size = 4096\nphysical_block_size = 512\n',
            ["6: target[0].lun[0].physical_block_size: smaller than the block size 4096"],
        ),
        (
            LUN + 'store = "ram:1M"\n' + '[[target.lun]]\nnumber = 0\nstore = "ram:1M"\n' * 2 + "threads = true\n",
            ["9: target[0].lun[2].number: LUN 0 is given twice", "11: target[0].lun[2].threads: a number of 1 to 256"],
        ),
        (TARGET * 2, ["4: target[1].iqn: the target iqn.2026-11.example:a is given twice"]),
        ('portals = ["h:1", "h:1"]\n' + TARGET, ["1: portals[1]: the portal h:1 is given twice"]),
        ("portals = []\n" + TARGET, ["1: portals: at least 1 is needed"]),
        ('watch_group = "no such group"\n' + TARGET, ["1: watch_group: there is no group 'no such group'"]),
        ("name = 1979-05-27\n" + TARGET, ["1: name: a name was expected, not a date or time"]),
        ('portals = ["127.0.0.1:\u0663\u0662\u0666\u0660"]\n' + TARGET, ["1: portals[0]: "]),
        ('name = "../x"\n' + TARGET, ["1: name: '../x' is no name"]),
        (
            TARGET + "[limits]\nfirst_burst_length = 2097152\nnop_timeout = 0\n",
            ["4: limits.first_burst_length: more than max_burst_length", "5: limits.nop_timeout: has to be more"],
        ),
        ("[limits]\nmax_burst_length = 16777216\n" + TARGET, ["2: limits.max_burst_length: 16777216 is not between"]),
        ('[[target]]\niqn = "iqn.x"\ninitiators = ["host"]\n', [
            "2: target[0].iqn: 'iqn.x' has not the form",
            "3: target[0].initiators[0]: 'host' matches no initiator",
        ]),
    ],
)  # fmt: skip
def test_problems(problems: Problems, text: str, expected: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(expected), found
    for line, begin in zip(found, expected, strict=True):
        assert line.startswith(begin)


def test_all_problems_come_in_the_order_of_their_lines(problems: Problems) -> None:
    found = problems(
        'nme = "x"\nlog_level = "loud"\n[[target]]\niqn = "x"\n[[target.lun]]\nstore = "ram:1"\nthin = 5\n'
    )
    assert [int(line.partition(":")[0]) for line in found] == [1, 2, 4, 6, 7]


def test_missing_and_unreadable_files(tmp_path: Path, plugins: PluginManager) -> None:
    with pytest.raises(RunError, match=r"absent\.toml: No such file or directory"):
        load_config(tmp_path / "absent.toml", plugins.registry)
    with pytest.raises(RunError, match="Is a directory"):
        load_config(tmp_path, plugins.registry)
    file = tmp_path / "latin1.toml"
    file.write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="byte 8 is not UTF-8"):
        load_config(file, plugins.registry)
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError):
        load_config(file, plugins.registry)


def test_overrides_take_the_place_of_the_files_keys(tmp_path: Path, plugins: PluginManager) -> None:
    file = tmp_path / "t.toml"
    file.write_text('name = "a"\nportals = ["nonsense:x"]\n' + LUN + 'store = "ram:1M"\n')
    config, _ = load_config(file, plugins.registry, (), {"portals": ["127.0.0.1:0"]})
    assert (config.name, config.portals) == ("a", (PortalConfig("127.0.0.1", 0),))
    with pytest.raises(ConfigError) as caught:
        load_config(file, plugins.registry, (), {"portals": ["1:2:3"]})
    assert caught.value.lines == ("--portal: '1:2:3': '1:2:3' is no IPv6 address",)


@pytest.mark.parametrize(
    ("key", "values", "complaint"),
    [
        ("serial", ("A", "B"), "the serial number 'A'"),
        ("naa", ("3000000000000001", "300000000000000A"), "the NAA designator 3000000000000001"),
    ],
)
def test_two_disks_of_one_identity_are_refused(load: Load, key: str, values: tuple[str, str], complaint: str) -> None:
    lun = '[[target.lun]]\nstore = "ram:1M,' + key + '={}"\n'
    one, other = (lun.format(value) for value in values)
    with pytest.raises(ConfigError) as caught:
        load(TARGET + one + other + TARGET.replace(":a", ":b") + one)
    assert caught.value.lines == (
        f"t.toml:7: target[1]: LUN 0: another has {complaint} too; initiators take both for one",
    )
    config, _ = load(TARGET + one + other + '[[target.lun]]\nstore = "ram:1M"\n' * 2)
    assert getattr(config.targets[0].luns[1], key) in (values[1], bytes.fromhex("300000000000000A"))


def test_removable_is_pointed_out(load: Load) -> None:
    _, warnings = load(LUN + 'store = "ram:1M,removable=yes"\n')
    assert warnings == (
        "t.toml:3: target[0].lun[0].removable: Linux fails the I/O of a removable disk after each reconnect, instead "
        "of repeating it",
    )


def test_a_byte_order_mark_is_no_part_of_the_text(load: Load) -> None:
    config, _ = load("\ufeff" + LUN + 'store = "null:1M"\n')
    assert config.targets[0].iqn == "iqn.2026-11.example:a"


def test_a_pipe_is_read_until_its_writer_has_ended(plugins: PluginManager, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, LUN.encode())
    thread = threading.Timer(0.05, lambda: (os.write(writer, b'store = "null:1M"\n'), os.close(writer)))
    thread.start()
    config, _ = load_config(f"/dev/fd/{reader}", plugins.registry)
    thread.join()
    os.close(reader)
    assert config.targets[0].luns[0].stack.kind == "null"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(plugins: PluginManager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RunError, match="fifo: nobody writes to this pipe"):
        load_config(tmp_path / "fifo", plugins.registry)


def test_what_has_no_end_is_no_configuration(plugins: PluginManager) -> None:
    with pytest.raises(RunError, match="/dev/zero: more than 16 MiB"):
        load_config("/dev/zero", plugins.registry)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("portal_groups = [2, 9]", "target[0].portal_groups: no portal is in portal group 9"),
        ("portal_groups = [2, 2]", "target[0].portal_groups: portal group 2 is given twice"),
        ('access = ["7=standby"]', "target[0].access: no portal is in portal group 7"),
        ('access = ["2=standby", "2=optimized"]', "target[0].access: portal group 2 is given twice"),
        ('portal_groups = [1]\naccess = ["2=standby"]', "target[0].access: no portal is in portal group 2"),
    ],
)
def test_portal_groups_are_there_and_said_once(load: Load, more: str, complaint: str) -> None:
    portals = 'portals = ["127.0.0.1:0", "127.0.0.1:0,2"]\n'
    with pytest.raises(ConfigError) as caught:
        load(portals + TARGET + more + "\n")
    (line,) = caught.value.lines
    assert line.endswith(complaint)
    config, _ = load(portals + TARGET + 'portal_groups = [1, 2]\naccess = ["2=standby"]\n')
    assert config.targets[0].access == ((2, "standby"),)
