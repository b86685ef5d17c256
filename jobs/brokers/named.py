"""The brokers on a store, by the names by which commands ask for them."""

from __future__ import annotations

from typing import Final

from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.brokers.streams import StreamsBroker
from ropeline.lua.errors import ConfigurationError

__all__ = ["STORE_BROKERS", "broker_named"]

STORE_BROKERS: Final[dict[str, type[RedisBroker]]] = {"redis": RedisBroker, "streams": StreamsBroker}
"""`redis`: pending and active jobs are in sorted sets; `streams`: in streams."""


def broker_named(field: str, name: str) -> type[RedisBroker]:
    """The broker of this name; raises ConfigurationError for `field`."""
    if name not in STORE_BROKERS:
        raise ConfigurationError(field, name, f"one of {', '.join(STORE_BROKERS)}")
    return STORE_BROKERS[name]
