"""The operators' HTTP API: an ASGI application of its own, mountable beside a gate; needs the `admin` extra.

Nothing is imported up front: what works on tenants without HTTP does not pay for FastAPI.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from ropeline.admin_api.app import create_app
    from ropeline.admin_api.settings import AdminSettings

__all__ = ["AdminSettings", "create_app"]

_HOMES = {"AdminSettings": "ropeline.admin_api.settings", "create_app": "ropeline.admin_api.app"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
