"""Configuration: what can be said in a file or on the command line, checked, as values."""

from iscsitools.config.load import config_of, load_config
from iscsitools.config.model import (
    AuthConfig,
    AuthMethod,
    ChapUser,
    Config,
    Limits,
    LunConfig,
    MapConfig,
    PluginConfig,
    Secret,
    TargetConfig,
)
from iscsitools.config.names import DEFAULT_PORT, PortalConfig, iscsi_name
from iscsitools.config.reading import ConfigError
from iscsitools.iscsi.login.policy import ChapAlgorithm
from iscsitools.wire.names import fold_name

__all__ = [
    "DEFAULT_PORT",
    "AuthConfig",
    "AuthMethod",
    "ChapAlgorithm",
    "ChapUser",
    "Config",
    "ConfigError",
    "Limits",
    "LunConfig",
    "MapConfig",
    "PluginConfig",
    "PortalConfig",
    "Secret",
    "TargetConfig",
    "config_of",
    "fold_name",
    "iscsi_name",
    "load_config",
]
