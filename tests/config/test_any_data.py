"""Whatever a file says, it is a Config or a ConfigError, never another exception."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iscsitools.config import Config, ConfigError, config_of
from iscsitools.config.example import all_keys
from iscsitools.plugins import PluginManager

TEXTS = st.sampled_from(
    ["", "chap", "ram:1M", "ram:", "null:1M,serial=\x00", "file:\0", "file+cow:x,size=1", "1M", "ram", "file", "-1",
     "iqn.2026-11.example:a", "127.0.0.1:0", "\ud7ff", "0x10", "1e400", "md5", "\u0661"]
)  # fmt: skip
LEAVES = TEXTS | st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.none()
KEYS = st.sampled_from(sorted(all_keys() | {"kind", "what", "filters", "size", "unknown"}))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
USERS = st.lists(st.dictionaries(st.sampled_from(["name", "secret", "secret_file", "secret_env"]), VALUES), max_size=2)
AUTH = st.fixed_dictionaries({}, optional={"method": LEAVES, "users": USERS | VALUES, "mutual": VALUES})
LUN = st.fixed_dictionaries({}, optional={"store": VALUES, "number": LEAVES, "block_size": LEAVES, "thin": VALUES})
TARGET = st.fixed_dictionaries({}, optional={"iqn": LEAVES, "lun": st.lists(LUN, max_size=3), "auth": AUTH})
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={"target": st.lists(TARGET, max_size=3) | VALUES, "limits": VALUES, "discovery": AUTH, "name": VALUES},
)


@given(data=DOCUMENT | st.dictionaries(KEYS, VALUES, max_size=6))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_data(plugins: PluginManager, data: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        config, _ = config_of(data, plugins.registry, {})
        assert isinstance(config, Config)
        assert config == config_of(data, plugins.registry, {})[0]
        hash(config)
