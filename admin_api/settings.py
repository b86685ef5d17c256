"""Holds what a process of the operators' API is started with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from ropeline.gate.fields import Integer, check_fields, described
from ropeline.gate.settings import GateSettings, read_environment, redact_url
from ropeline.lua.client import RedisSettings

__all__ = ["AdminSettings"]

_OF_THE_GATE = {each.name: each for each in fields(GateSettings)}


def _as_in_the_gate(name: str) -> Any:
    """A field that means the same in both processes: one description, one environment variable."""
    field_ = _OF_THE_GATE[name]
    return field(default=field_.default, repr=field_.repr, metadata=dict(field_.metadata))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """What the operators' API is started with. Raises ConfigurationError, which shows no secret, for what cannot work."""

    redis_url: str = _as_in_the_gate("redis_url")
    secret_keys: tuple[str | bytes, ...] = _as_in_the_gate("secret_keys")
    trusted_proxies: tuple[str, ...] = _as_in_the_gate("trusted_proxies")
    namespace: str = _as_in_the_gate("namespace")
    admin_deadline_ms: int = field(
        default=2_000,
        metadata=described(
            Integer(50, 60_000),
            "Longest that a call of an operator waits for the store; then 503, or 504 when it may have been carried out.",
            "milliseconds",
        ),
    )
    admin_login_minutes: int = field(
        default=720,
        metadata=described(
            Integer(1, 10_080), "How long a login in a browser lasts. It ends sooner with its key.", "minutes"
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def redacted_redis_url(self) -> str:
        """`redis_url` for messages, without user and password."""
        return redact_url(self.redis_url)

    def store(self) -> RedisSettings:
        """How the store is connected to."""
        deadline = timedelta(milliseconds=self.admin_deadline_ms)
        return RedisSettings(self.redis_url, pool_wait=deadline, connect_timeout=deadline, call_timeout=deadline)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "AdminSettings":
        """The settings in the variables ROPELINE_..., as `GateSettings.from_env` reads them."""
        return read_environment(cls, environ)
