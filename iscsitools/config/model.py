"""What a configuration is, once read and checked: values that can be compared and hashed.

The defaults stand here and nowhere else; ``iscsitools.config.schema`` says how each key is written and what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from iscsitools.config.names import PortalConfig
from iscsitools.iscsi.login.policy import ChapAlgorithm

if TYPE_CHECKING:
    from iscsitools.backstores.spec import StackSpec


class AuthMethod(Enum):
    """AuthMethod (RFC 7143 12.1): who has to log in how."""

    NONE = "none"
    CHAP = "chap"


@dataclass(frozen=True, slots=True)
class Secret:
    """A CHAP secret. No text form of it, of any kind, shows ``value``."""

    value: bytes = field(repr=False)
    source: str = field(default="configuration", compare=False)
    """Where it came from, for messages: ``file /etc/iscsi/alice``, ``environment variable ALICE``."""


@dataclass(frozen=True, slots=True)
class ChapUser:
    """A CHAP name (CHAP_N) with its secret. ``initiators``: patterns of the names that may use it; empty: all."""

    name: str
    secret: Secret
    initiators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """How initiators prove who they are. With CHAP, ``users`` or the plugin named by ``authenticator`` know them.

    ``mutual`` is the name and secret with which the target answers an initiator's challenge; None: it cannot.
    ``algorithms``: the ones that may be used, the preferred one first.
    """

    method: AuthMethod = AuthMethod.NONE
    users: tuple[ChapUser, ...] = ()
    mutual: ChapUser | None = None
    algorithms: tuple[ChapAlgorithm, ...] = tuple(reversed(ChapAlgorithm))
    authenticator: str | None = None


@dataclass(frozen=True, slots=True)
class LunConfig:
    """A logical unit: where its bytes are kept and what it says of itself.

    ``physical_block_size`` in bytes, 0: as the backstore says. ``thin``: None is as the backstore says.
    ``write_cache`` False is ``cache = "writethrough"``: every write is durable before it is answered. ``serial``
    None: derived from the disk's own identity, or else from the target's name, the LUN and the backstore's. ``naa``:
    the 8 bytes of the NAA designator; None: derived as the serial number is. ``keep_reservations``:
    persistent reservations outlive a restart, asked for or not. ``queue_depth``: commands before TASK SET FULL;
    ``threads``: blocking backstore calls at once.
    """

    number: int
    stack: StackSpec
    block_size: int = 512
    physical_block_size: int = 0
    readonly: bool = False
    thin: bool | None = None
    removable: bool = False
    write_cache: bool = True
    serial: str | None = None
    naa: bytes | None = None
    keep_reservations: bool = False
    queue_depth: int = 128
    threads: int = 8


@dataclass(frozen=True, slots=True)
class MapConfig:
    """What some initiators see of a target. ``initiators`` and ``networks``: for whom it is; empty: for all.

    ``luns``: pairs of the LUN that they know a unit by, and its number; None: all units, by their own numbers.
    """

    name: str
    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    luns: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """A target node. ``initiators``: shell-style patterns of the initiator names let in; empty: all of them.

    ``networks``: where they have to come from, in CIDR; empty: from anywhere. ``maps``: what each sees, the first that
    fits; empty: all see everything. ``groups``: the portal groups at which it can be reached; empty: all.
    ``access``: access states of portal groups, by their numbers; those that are not named are optimized.
    ``access_transition``: seconds that a group is on its way to another one.
    """

    iqn: str
    alias: str = ""
    luns: tuple[LunConfig, ...] = ()
    auth: AuthConfig = AuthConfig()
    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    maps: tuple[MapConfig, ...] = ()
    access: tuple[tuple[int, str], ...] = ()
    access_transition: float = 0.0

    def lun(self, number: int) -> LunConfig:
        """The LUN of that number; raises StopIteration when there is none."""
        return next(lun for lun in self.luns if lun.number == number)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and timers. Times in seconds, sizes in bytes; a timer of 0 is off."""

    max_connections: int = 256
    max_connections_per_address: int = 0
    max_sessions: int = 256
    max_sessions_per_initiator: int = 0
    kept_free: int = 16
    chap_failures: int = 10
    login_timeout: float = 15.0
    nop_interval: float = 30.0
    nop_timeout: float = 30.0
    data_out_timeout: float = 30.0
    exit_timeout: float = 10.0
    buffer_memory: int = 512 << 20
    command_window: int = 128
    max_recv_data_segment_length: int = 262144
    max_burst_length: int = 1048576
    first_burst_length: int = 262144
    max_outstanding_r2t: int = 8
    initial_r2t: bool = False
    immediate_data: bool = True
    default_time2wait: int = 2
    busy_poll: int = 0
    """Microseconds."""


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """What is said to one plugin: its options as they were given. Some may be secrets: no text form shows them."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that ``iscsitools serve`` needs to know.

    ``name`` names the server's sockets; None: one is derived from its process id. ``discovery``: authentication of
    discovery sessions. ``watch_group``: the group that may open the watch socket; None: the owner only.
    ``state``: the folder of what outlives the server; None: the user's own, and no configuration is kept in it.
    ``provider``: ``auto`` takes every tracer that the system has, else ``dtrace``, ``sdt`` or ``none``.
    ``data_path``: ``auto`` takes the one in C where it was built, else ``native`` or ``python``. ``threads``: data
    threads; 1: the event loop serves all by itself, 0: as many as are useful.
    """

    name: str | None = None
    portals: tuple[PortalConfig, ...] = (PortalConfig("127.0.0.1"),)
    targets: tuple[TargetConfig, ...] = ()
    discovery: AuthConfig = AuthConfig()
    limits: Limits = Limits()
    log_level: str = "info"
    log_format: str = "text"
    watch_group: str | None = None
    state: str | None = None
    provider: str = "auto"
    data_path: str = "auto"
    threads: int = 0
    plugins: tuple[PluginConfig, ...] = ()

    def with_lun(self, iqn: str, lun: LunConfig) -> Config:
        """The same with another LUN of a target in the place of the one of its number."""
        return self._with_luns(iqn, lambda luns: tuple(lun if each.number == lun.number else each for each in luns))

    def without_lun(self, iqn: str, number: int) -> Config:
        """The same with one LUN of a target less."""
        return self._with_luns(iqn, lambda luns: tuple(lun for lun in luns if lun.number != number))

    def _with_luns(self, iqn: str, change: Callable[[tuple[LunConfig, ...]], tuple[LunConfig, ...]]) -> Config:
        targets = (replace(each, luns=change(each.luns)) if each.iqn == iqn else each for each in self.targets)
        return replace(self, targets=tuple(targets))
