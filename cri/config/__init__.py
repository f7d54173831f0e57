"""Settings: what there is to set (`schema`), where it comes from (`load`), how it is printed (`render`).

Light on purpose: no gRPC, no click; the command line, the daemon and `deploy` all read settings through here.
"""

from cri.config.errors import ConfigError
from cri.config.load import DEFAULT_CONFIG, load_settings
from cri.config.render import render
from cri.config.schema import KEYS, Key, Settings, with_derived

__all__ = ["DEFAULT_CONFIG", "KEYS", "ConfigError", "Key", "Settings", "load_settings", "render", "with_derived"]
