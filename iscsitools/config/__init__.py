"""Configuration: what can be said in a file or on the command line, checked, as values."""

from iscsitools.config.model import (
    AuthConfig,
    AuthMethod,
    ChapAlgorithm,
    ChapUser,
    Config,
    Limits,
    LunConfig,
    Secret,
    TargetConfig,
)
from iscsitools.config.names import DEFAULT_PORT, Portal, fold_name, iscsi_name

__all__ = [
    "DEFAULT_PORT",
    "AuthConfig",
    "AuthMethod",
    "ChapAlgorithm",
    "ChapUser",
    "Config",
    "Limits",
    "LunConfig",
    "Portal",
    "Secret",
    "TargetConfig",
    "fold_name",
    "iscsi_name",
]
