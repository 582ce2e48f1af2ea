"""The one table of everything that a configuration may say.

Parsing, the check for unknown keys, the commented example and ``docs/configuration.md`` all come from here. The
defaults are those of ``iscsitools.config.model``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from iscsitools.config import scalars as t
from iscsitools.config.auth import finish_auth, finish_user
from iscsitools.config.cross_checks import finish_config, finish_limits, finish_lun, finish_map, finish_target
from iscsitools.config.key_tables import Key, ListOf, PluginTables, StoreValue, Table, Tables
from iscsitools.config.model import AuthConfig, AuthMethod, ChapUser, Config, Limits, LunConfig, MapConfig, TargetConfig
from iscsitools.iscsi.login.policy import ChapAlgorithm

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
PROVIDERS: Final = ("auto", "dtrace", "sdt", "none")
DATA_PATHS: Final = ("auto", "native", "python")
THREADS: Final = t.integer_or_auto(1, 64)
_ALGORITHM: Final = t.enum_choice(ChapAlgorithm, "md5", "sha1", "sha256", "sha3-256")

USER: Final = Table(
    ChapUser,
    (
        Key("name", t.CHAP_NAME, "The CHAP name (CHAP_N).", required=True, example='"alice"'),
        Key("secret_file", t.TEXT, "File with the secret; a newline at its end is no part of it.",
            example='"alice.secret"'),
        Key("secret_env", t.TEXT, "Environment variable with the secret.", example='"ALICE_SECRET"'),
        Key("secret", t.SECRET, "The secret itself, at least 12 bytes.", example='"correct horse battery"'),
        Key("initiators", ListOf(t.PATTERN), "Initiator names that may use it, as patterns with * ? []; empty: all.",
            example='["iqn.1993-08.org.debian:*"]'),
    ),
    finish_user,
    inline=True,
)  # fmt: skip

AUTH: Final = Table(
    AuthConfig,
    (
        Key("method", t.enum_choice(AuthMethod), "Whether an initiator has to prove who it is (RFC 7143 12.1)."),
        Key("users", Tables(USER, 1), "Who may log in; the secret of each from one of three places."),
        Key("mutual", USER, "Name and secret by which the target proves itself to an initiator that asks.",
            example='{ name = "target", secret_file = "target.secret" }'),
        Key("algorithms", ListOf(_ALGORITHM, 1), "CHAP's hash functions that may be used, the preferred one first."),
        Key("authenticator", t.NAME, "A plugin's authenticator that knows the users, instead of users.",
            example='"ldap"'),
    ),
    finish_auth,
)  # fmt: skip

_LUN_KEYS: Final = (
    Key("number", t.integer(0, 16383), "The logical unit number; the lowest free one if not given.", example="0"),
    Key("store", StoreValue(), "Where the bytes are kept: KIND[+FILTER...]:WHAT[,key=value]..., or a table.",
        field="stack", required=True, example='"ram:64M"'),
    Key("block_size", t.BLOCK_SIZE, "Bytes of a logical block."),
    Key("physical_block_size", t.PHYSICAL_BLOCK_SIZE, "Bytes of a physical block; 0: as the store says."),
    Key("readonly", t.BOOLEAN, "Write-protected."),
    Key("thin", t.BOOLEAN, "Thin provisioned: unmapped blocks give their space back. Not given: as the store says.",
        example="true"),
    Key("removable", t.BOOLEAN, "A removable medium, which can be ejected. Linux fails its I/O after a reconnect."),
    Key("cache", t.CACHE, "writethrough: each write is durable before it is answered.", field="write_cache"),
    Key("serial", t.SERIAL, "Unit serial number. Not given: made of the disk's identity, the same at each start.",
        example='"0001"'),
    Key("naa", t.NAA, "NAA designator, 16 hexadecimal digits, the first 2, 3 or 5. Not given: as the serial.",
        example='"3000000000000001"'),
    Key("reservations", t.RESERVATIONS,
        "keep: persistent reservations outlive a restart though no initiator asked for it (APTPL).",
        field="keep_reservations"),
    Key("queue_depth", t.integer(1, 65535), "Commands before TASK SET FULL; a sixteenth is each initiator's own."),
    Key("threads", t.integer(1, 256), "Blocking calls of the store at once."),
)  # fmt: skip
_LUN_OPTIONS: Final = {
    key.name: (key.field or key.name, key.type) for key in _LUN_KEYS if isinstance(key.type, t.Scalar)
}
LUN: Final = Table(LunConfig, _LUN_KEYS, partial(finish_lun, options=_LUN_OPTIONS))

MAP: Final = Table(
    MapConfig,
    (
        Key("name", t.NAME, "What it is called, to be changed by.", required=True, example='"web"'),
        Key("initiators", ListOf(t.PATTERN), "For whom it is: names as patterns with * ? []; empty: all.",
            example='["iqn.1993-08.org.debian:web*"]'),
        Key("networks", ListOf(t.NETWORK), "For whom it is: networks that they come from; empty: all.",
            example='["192.0.2.0/24"]'),
        Key("luns", ListOf(t.MAPPED),
            "What they see: their LUN=our number, or a number that is the same for both; not given: all as they are.",
            example='["5=0"]'),
    ),
    finish_map,
)  # fmt: skip

TARGET: Final = Table(
    TargetConfig,
    (
        Key("iqn", t.IQN, "The target's name (RFC 7143 4.2.7): iqn., eui. or naa.", required=True,
            example='"iqn.2026-11.example:disks"'),
        Key("alias", t.ALIAS, "A text for people, given to initiators at login (TargetAlias)."),
        Key("initiators", ListOf(t.PATTERN), "Names of the initiators let in, as patterns with * ? []; empty: all.",
            example='["iqn.1993-08.org.debian:*"]'),
        Key("networks", ListOf(t.NETWORK), "Networks from which initiators are let in; empty: all.",
            example='["192.0.2.0/24", "2001:db8::/32"]'),
        Key("portal_groups", ListOf(t.integer(1, 65535)), "Portal groups at which it can be reached; empty: all.",
            field="groups", example="[1]"),
        Key("access", ListOf(t.ACCESS),
            "Access states of portal groups (ALUA): GROUP=optimized, non-optimized, standby, unavailable.",
            example='["1=non-optimized"]'),
        Key("access_transition", t.SECONDS,
            "How long a portal group is in the state transitioning when its access state is changed here.",
            example="5"),
        Key("auth", AUTH, "Authentication of the sessions to this target."),
        Key("lun", Tables(LUN), "The logical units of the target.", field="luns"),
        Key("map", Tables(MAP), "What which initiators see of it, the first that fits; none: all see everything.",
            field="maps"),
    ),
    finish_target,
)  # fmt: skip

LIMITS: Final = Table(
    Limits,
    (
        Key("max_connections", t.integer(1, 65535), "Connections at once; one not logged in gives way to another."),
        Key("max_connections_per_address", t.integer(0, 65535),
            "Connections at once from one address (of IPv6: from one /64); 0: no bound of its own."),
        Key("max_sessions", t.integer(1, 65535), "Sessions at once, of all targets."),
        Key("max_sessions_per_initiator", t.integer(0, 65535),
            "Sessions at once of one initiator name; 0: no bound of its own."),
        Key("kept_free", t.integer(0, 65535),
            "Of both, how many stay free for addresses and initiators that have none yet; an eighth at the most."),
        Key("chap_failures", t.integer(0, 100000),
            "Wrong CHAP secrets in a minute from one address, or for one name, before its logins are refused; 0: any."),
        Key("login_timeout", t.SECONDS, "Seconds in which a login has to be complete; 0: no bound."),
        Key("nop_interval", t.SECONDS, "Seconds of silence before an initiator is asked for a sign of life; 0: never."),
        Key("nop_timeout", t.SECONDS, "Seconds to wait for that sign."),
        Key("data_out_timeout", t.SECONDS, "Seconds that a command waits for data that it was promised; 0: for ever."),
        Key("exit_timeout", t.SECONDS, "Seconds that the end of the server waits for calls that do not return."),
        Key("buffer_memory", t.size(1 << 20, 1 << 40), "Bytes that all connections may hold: data, requests, output."),
        Key("command_window", t.integer(1, 4096), "Commands that a session may have under way (MaxCmdSN)."),
        Key("max_recv_data_segment_length", t.size(512, (1 << 24) - 1), "MaxRecvDataSegmentLength (RFC 7143 13.12)."),
        Key("max_burst_length", t.size(512, (1 << 24) - 1), "MaxBurstLength (RFC 7143 13.13)."),
        Key("first_burst_length", t.size(512, (1 << 24) - 1), "FirstBurstLength (RFC 7143 13.14)."),
        Key("max_outstanding_r2t", t.integer(1, 65535), "MaxOutstandingR2T (RFC 7143 13.17)."),
        Key("initial_r2t", t.BOOLEAN, "InitialR2T (RFC 7143 13.10): true forbids unsolicited data."),
        Key("immediate_data", t.BOOLEAN, "ImmediateData (RFC 7143 13.11): data in the command's own PDU."),
        Key("default_time2wait", t.integer(0, 3600), "DefaultTime2Wait in seconds (RFC 7143 13.15)."),
        Key("busy_poll", t.integer(0, 1000000),
            "Microseconds for which the server looks for more work, before it sleeps; takes its processor meanwhile."),
    ),
    finish_limits,
)  # fmt: skip

CONFIG: Final = Table(
    Config,
    (
        Key("name", t.NAME, "Names the server's sockets, NAME.watch and NAME.control.", example='"disks"'),
        Key("portals", ListOf(t.PORTAL, 1),
            "Addresses to listen on; [::]:3260 means all, 0.0.0.0:3260 all of IPv4. ADDR:PORT,2 is in portal group 2; "
            "ADDR:PORT,advertise=ADDR:PORT tells initiators another address."),
        Key("log_level", t.choice(*LOG_LEVELS), "The least important log lines to write."),
        Key("log_format", t.choice(*LOG_FORMATS), "Log lines for people and grep, or one JSON object each."),
        Key("watch_group", t.GROUP, "The group that may watch the server live; not given: its owner only.",
            example='"root"'),
        Key("state", t.TEXT,
            "Folder for reservations and saved mode pages, and for what is changed while serving; not given: the "
            "user's, for the former.",
            example='"/var/lib/iscsitools"'),
        Key("provider", t.choice(*PROVIDERS), "Which tracers of the system the 18 probes serve."),
        Key("data_path", t.choice(*DATA_PATHS), "What moves the data: the module in C, where it was built, or Python."),
        Key("threads", THREADS,
            "Threads that move data beside the one that decides; 1: that one does both. Linux, data path in C."),
        Key("limits", LIMITS, "Bounds and timers."),
        Key("discovery", AUTH, "Authentication of discovery sessions."),
        Key("plugin", PluginTables(), "Options of plugins, in a table for each: [plugin.NAME].", field="plugins",
            example="{}"),
        Key("target", Tables(TARGET, 1), "The targets.", field="targets", required=True),
    ),
    finish_config,
)  # fmt: skip


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of a document with its header as the example writes it, in that order."""
    yield "", CONFIG
    yield "[limits]", LIMITS
    yield "[discovery]", AUTH
    yield "[[target]]", TARGET
    yield "[target.auth]", AUTH
    yield "[[target.lun]]", LUN
    yield "[[target.map]]", MAP
