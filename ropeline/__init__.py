"""The public face of Ropeline: the names a user imports, each loaded when it is first asked for.

Nothing is imported up front, so that a command which only needs one part does not pay for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ropeline.gate.middleware import GateMiddleware
    from ropeline.gate.settings import GateSettings, TenantSettings
    from ropeline.jobs.app import Jobs
    from ropeline.jobs.context import JobContext
    from ropeline.jobs.errors import Discard, Retry, Snooze
    from ropeline.jobs.options import Unique
    from ropeline.lua.errors import ConfigurationError, RopelineError

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "Discard",
    "GateMiddleware",
    "GateSettings",
    "JobContext",
    "Jobs",
    "Retry",
    "RopelineError",
    "Snooze",
    "TenantSettings",
    "Unique",
    "__version__",
]

_HOMES = {
    "ConfigurationError": "ropeline.lua.errors",
    "Discard": "ropeline.jobs.errors",
    "GateMiddleware": "ropeline.gate.middleware",
    "GateSettings": "ropeline.gate.settings",
    "JobContext": "ropeline.jobs.context",
    "Jobs": "ropeline.jobs.app",
    "Retry": "ropeline.jobs.errors",
    "RopelineError": "ropeline.lua.errors",
    "Snooze": "ropeline.jobs.errors",
    "TenantSettings": "ropeline.gate.settings",
    "Unique": "ropeline.jobs.options",
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
