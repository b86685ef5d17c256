"""The public face of Ropeline: the names a user imports, each loaded when it is first asked for.

Nothing is imported up front, so that a command which only needs one part does not pay for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ropeline.gate.middleware import GateMiddleware
    from ropeline.gate.settings import GateSettings, TenantSettings
    from ropeline.lua.errors import ConfigurationError, RopelineError

__version__ = "0.1.0"

__all__ = ["ConfigurationError", "GateMiddleware", "GateSettings", "RopelineError", "TenantSettings", "__version__"]

_HOMES = {
    "ConfigurationError": "ropeline.lua.errors",
    "GateMiddleware": "ropeline.gate.middleware",
    "GateSettings": "ropeline.gate.settings",
    "RopelineError": "ropeline.lua.errors",
    "TenantSettings": "ropeline.gate.settings",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
