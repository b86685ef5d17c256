"""Holds what a gate process needs to know before it knows any tenant, and reads the file that lists tenants."""

import ipaddress
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, TypeVar

from ropeline.gate.fields import SLUG, Choice, Integer, ListOf, Text, check_fields, described, setting_of
from ropeline.gate.hosts import Route
from ropeline.gate.paths import path_prefix
from ropeline.gate.tenant_settings import CookieAttributes, Poll, TenantSettings
from ropeline.gate.tickets import check_keys
from ropeline.lua.client import RedisSettings
from ropeline.lua.errors import ConfigurationError

__all__ = [
    "CookieAttributes",
    "GateSettings",
    "Poll",
    "Route",
    "TenantSettings",
    "check_apart",
    "load_tenants_file",
    "read_environment",
    "redact_url",
    "tenants_of",
]

_LARGEST_FILE = 16 * 1024 * 1024
_PREFIX = "ROPELINE_"
_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 256


def _network(text: str) -> str | None:
    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text, strict=True))
    except ValueError:
        return None


def _endpoints(text: str) -> str | None:
    path = path_prefix(text)
    return text if path and len(path) > 1 and text == f"{path}/" else None


def redact_url(url: str) -> str:
    """A URL for messages: whatever stands before the host may be a password and is left out."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else "(hidden)"


@dataclass(frozen=True, slots=True)
class _StoreUrl:
    expected: ClassVar[str] = "a URL such as redis://user:password@host:6379/0"

    def check(self, field: str, value: object) -> object:
        if not isinstance(value, str) or not value.partition("://")[2] or not value.isprintable():
            raise ConfigurationError(field, redact_url(value) if isinstance(value, str) else value, self.expected)
        return value


@dataclass(frozen=True, slots=True)
class _SecretKeys:
    expected: ClassVar[str] = "a list of keys of at least 16 bytes, oldest to newest, the same in every process"

    def check(self, field: str, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(isinstance(key, str | bytes) for key in value):
            raise ConfigurationError(field, "(hidden)", self.expected)
        check_keys(value)
        return tuple(value)


@dataclass(frozen=True, slots=True)
class _Token:
    expected: ClassVar[str] = "16 to 256 characters of plain ASCII without spaces, or none: nobody reads the metrics"

    def check(self, field: str, value: object) -> object:
        if value is None:
            return None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigurationError(field, "(hidden)", self.expected)
        if not _SHORTEST_TOKEN <= len(value) <= _LONGEST_TOKEN:
            raise ConfigurationError(field, "(hidden)", self.expected)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What one gate process is started with. Raises ConfigurationError, which shows no secret, for what cannot work."""

    redis_url: str = field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        metadata=described(_StoreUrl(), "Address of the Redis or Valkey server."),
    )
    secret_keys: tuple[str | bytes, ...] = field(
        repr=False,
        metadata=described(
            _SecretKeys(), "Keys that sign tickets: all verify, the last one signs. Rotate by appending a key."
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=described(
            ListOf(Text("an address, a network such as 10.0.0.0/8, or unix", _network), 1000),
            "Proxies in front of the gate whose `X-Forwarded-For` is believed; `unix` is one that comes through a Unix"
            " socket. Empty: nobody's is.",
        ),
    )
    well_known_prefix: str = field(
        default="/.well-known/waiting-room/",
        metadata=described(
            Text("a lower-case path of plain ASCII that starts and ends with /", _endpoints),
            "Where the gate's own endpoints are, on every tenant's host.",
        ),
    )
    tenants_file: str | None = field(
        default=None,
        metadata=described(
            Text("a path", lambda text: text or None, absent="tenants come from Redis"),
            "TOML file that lists the tenants.",
        ),
    )
    namespace: str = field(
        default="gate",
        metadata=described(SLUG, "First part of every key, so that two installations can share a server."),
    )
    deadline_ms: int = field(
        default=250,
        metadata=described(
            Integer(10, 60_000), "Longest that a request waits for the store, from pool to reply.", "milliseconds"
        ),
    )
    metrics_token: str | None = field(
        default=None,
        repr=False,
        metadata=described(
            _Token(),
            "Who shows it as `Authorization: Bearer ...` reads the metrics below `well_known_prefix`. None: nobody does.",
        ),
    )
    metrics_folder: str | None = field(
        default=None,
        metadata=described(
            Text("a path", lambda text: text or None, absent="each process tells only its own"),
            "Folder in which the gate processes of one host count, so that whichever is asked for the metrics tells the sum.",
        ),
    )
    unknown_host: str = field(
        default="refuse",
        metadata=described(
            Choice(("refuse", "pass")),
            "A request for a host of no tenant: `refuse` answers 421, `pass` lets it through without a look.",
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    def store(self) -> RedisSettings:
        """How the store is connected to: each of the client's waits may take the whole deadline, which bounds their sum."""
        deadline = timedelta(milliseconds=self.deadline_ms)
        return RedisSettings(self.redis_url, pool_wait=deadline, connect_timeout=deadline, call_timeout=deadline)

    @property
    def redacted_redis_url(self) -> str:
        """`redis_url` for messages, without user and password."""
        return redact_url(self.redis_url)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "GateSettings":
        """The settings in the variables ROPELINE_..., one for each field; lists are separated by commas.

        REDIS_URL stands in for ROPELINE_REDIS_URL. An empty variable is as good as none.
        """
        return read_environment(cls, environ)


T = TypeVar("T")


def read_environment(cls: type[T], environ: Mapping[str, str]) -> T:
    """Settings of a process, one variable ROPELINE_... for each field of the dataclass `cls`; see `GateSettings.from_env`."""
    given: dict[str, object] = {}
    for each in fields(cls):  # type: ignore[arg-type]  # any dataclass
        name = _PREFIX + each.name.upper()
        text = environ.get(name) or (environ.get("REDIS_URL") if each.name == "redis_url" else None)
        if text:
            given[each.name] = _from_text(setting_of(each).kind, text)
    given.setdefault("secret_keys", ())
    try:
        return cls(**given)  # __post_init__ checks every type
    except ConfigurationError as error:
        raise ConfigurationError(_PREFIX + error.field.upper(), error.value, error.expected) from None


def _from_text(kind: object, text: str) -> object:
    if isinstance(kind, ListOf | _SecretKeys):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(kind, Integer):
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    return text


def load_tenants_file(path: str | Path) -> list[TenantSettings]:
    """The tenants in a TOML file, one `[[tenant]]` table each; raises ConfigurationError and takes none when one is wrong.

    An error names the file, the table by its number and its name, and the field.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError("tenants_file", str(path), f"a file that can be read ({error.strerror})") from None
    if len(raw) > _LARGEST_FILE:
        raise ConfigurationError("tenants_file", str(path), f"a file of at most {_LARGEST_FILE} bytes")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError("tenants_file", str(path), f"TOML ({error})") from None
    return tenants_of(document, source=str(path))


def tenants_of(document: Mapping[str, object], *, source: str) -> list[TenantSettings]:
    """The tenants of a document with a list of tables called `tenant`; raises ConfigurationError as `load_tenants_file` does."""
    others = [name for name in document if name != "tenant"]
    if others:
        raise ConfigurationError(f"{source}: {others[0]!r:.100}", "", "only [[tenant]] tables")
    tables = document.get("tenant", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{source}: tenant", tables, "[[tenant]] tables, with two brackets")
    tenants = [
        TenantSettings.from_mapping(
            table, source=f"{source}: [[tenant]] {number} ({table.get('name', 'without a name')})"
        )
        for number, table in enumerate(tables, 1)
    ]
    check_apart(tenants, source=source)
    return tenants


def check_apart(tenants: Iterable[TenantSettings], *, source: str) -> None:
    """Raise ConfigurationError when two tenants have one name, or stand at the same host and path."""
    names: set[str] = set()
    owners: dict[tuple[str, str], str] = {}
    for tenant in tenants:
        if tenant.name in names:
            raise ConfigurationError(f"{source}: name", tenant.name, "a name that no other tenant has")
        names.add(tenant.name)
        for route in tenant.routes:
            owner = owners.setdefault((route.host, route.path), tenant.name)
            if owner != tenant.name:
                where = f"{route.host}{route.path}"
                expected = f"a host and path that tenant {owner} does not have already"
                raise ConfigurationError(f"{source}: route of tenant {tenant.name}", where, expected)
