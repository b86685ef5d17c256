"""Reads the address of a store, one URL, into its parts, and shows it without its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, unquote

from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ADDRESS_FORMS", "Address", "Kind", "TlsOptions", "parse_address", "redacted_address"]

Kind = Literal["single", "unix", "cluster", "sentinel"]

ADDRESS_FORMS: Final = (
    "redis://[user:password@]host[:6379][/db], rediss://... (TLS), unix:///path/to.sock[?db=0], "
    "redis+cluster://host[:6379],host..., rediss+cluster://..., "
    "redis+sentinel://host[:26379],host.../service[/db] or rediss+sentinel://..."
)

_KINDS: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
_DEFAULT_PORTS: Final[dict[Kind, int]] = {"single": 6379, "unix": 0, "cluster": 6379, "sentinel": 26379}
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
_URL: Final = re.compile(r"([a-z+]+)://([^/?#\s]*)([^?#\s]*)(?:\?([^#\s]*))?", re.ASCII)
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_SECRET_OPTION: Final = re.compile(r"([?&][a-z_]*password=)[^&#]*")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How a TLS connection is checked, under redis-py's names for the URL options."""

    ca_file: str | None = None
    """`ssl_ca_certs`: file of trusted authorities; None trusts those of the system."""
    certificate_file: str | None = None
    """`ssl_certfile`: our own certificate, where the server asks for one."""
    key_file: str | None = None
    """`ssl_keyfile`: its key."""
    verify: bool = True
    """`ssl_cert_reqs` = required or none: whether the server's certificate is checked at all."""
    check_hostname: bool = True
    """`ssl_check_hostname` = true or false: whether it must name the host we asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a store's URL. `hosts` are servers, cluster nodes or sentinels; empty for a Unix socket."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    database: int
    username: str | None
    password: str | None
    tls: TlsOptions | None
    socket_path: str
    service: str
    sentinel_username: str | None
    sentinel_password: str | None


def redacted_address(url: str) -> str:
    """Return the URL with everything that may be a secret replaced by `***`; works on malformed ones too."""
    shown = _SECRET_OPTION.sub(r"\1***", url)
    before, at, after = shown.rpartition("@")
    if not at:
        return shown
    scheme, mark, _ = before.partition("://")
    return f"{scheme}{mark}***@{after}" if mark else f"***@{after}"


def parse_address(url: str) -> Address:
    """Read a store's URL.

    Raises:
        ConfigurationError: the URL has no known form; says what would be right and shows it without its secrets.
    """
    try:
        return _parse(url)
    except _WrongAddress as error:
        # Not chained: an earlier exception could carry the password into a log.
        raise ConfigurationError("redis_url", redacted_address(url), str(error)) from None


class _WrongAddress(Exception):
    """What the URL should have been."""


def _parse(url: str) -> Address:
    match = _URL.fullmatch(url)
    if match is None or match[1] not in _KINDS:
        raise _WrongAddress(f"one of {ADDRESS_FORMS}; other signs in a name or password are percent-encoded")
    kind, secured = _KINDS[match[1]]
    credentials, _, places = match[2].rpartition("@")
    username, password = _credentials(credentials)
    options = _options(match[4] or "", match[1])
    if kind == "unix":
        if places or len(match[3]) < 2:
            raise _WrongAddress("unix:///absolute/path/to.sock")
        service, database, socket_path = "", "", unquote(match[3])
    elif kind == "sentinel":
        service, _, database = match[3].strip("/").partition("/")
        socket_path = ""
        if not service:
            raise _WrongAddress("the service that the sentinels watch after the hosts: redis+sentinel://host/SERVICE")
    else:
        service, database, socket_path = "", match[3].strip("/"), ""
    return Address(
        kind=kind,
        hosts=() if kind == "unix" else _hosts(places, kind),
        database=_database(database, options, kind),
        username=username,
        password=password,
        tls=_tls_options(options) if secured else None,
        socket_path=socket_path,
        service=unquote(service),
        sentinel_username=options.get("sentinel_username") or None,
        sentinel_password=options.get("sentinel_password") or None,
    )


def _credentials(text: str) -> tuple[str | None, str | None]:
    username, _, password = text.partition(":")
    if text and not password:
        raise _WrongAddress("user:password@ or :password@ in front of the host")
    return unquote(username) or None, unquote(password) or None


def _options(query: str, scheme: str) -> dict[str, str]:
    kind, secured = _KINDS[scheme]
    known = {"db"} | (_TLS_OPTIONS if secured else set()) | (_SENTINEL_OPTIONS if kind == "sentinel" else set())
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known or name in options:
            raise _WrongAddress(f"each of these options at most once for {scheme}://: {', '.join(sorted(known))}")
        options[name] = value
    return options


def _hosts(places: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    hosts: list[tuple[str, int]] = []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        port = int((match and match[3]) or _DEFAULT_PORTS[kind])
        if match is None or not 0 < port < 65536:
            raise _WrongAddress("host or host:port, ports from 1 to 65535; signs in a password are percent-encoded")
        hosts.append((match[1] or match[2], port))
    if kind == "single" and len(hosts) > 1:
        raise _WrongAddress("one host, or redis+cluster:// or redis+sentinel:// for several")
    return tuple(hosts)


def _database(in_path: str, options: Mapping[str, str], kind: Kind) -> int:
    if in_path and "db" in options:
        raise _WrongAddress("the number of the database once, as /N or as ?db=N")
    number = options.get("db", in_path) or "0"
    if not _NUMBER.fullmatch(number):
        raise _WrongAddress("the number of a database, such as 0, after the host")
    if kind == "cluster" and int(number):
        raise _WrongAddress("database 0: a cluster has no other")
    return int(number)


def _tls_options(options: Mapping[str, str]) -> TlsOptions:
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not Path(options[name]).is_file():
            raise _WrongAddress(f"{name} to name a file that exists")
    requirement = options.get("ssl_cert_reqs", "required")
    if requirement not in {"required", "none"}:
        raise _WrongAddress("ssl_cert_reqs=required or ssl_cert_reqs=none")
    check_hostname = options.get("ssl_check_hostname", "true").lower()
    if check_hostname not in {"true", "false"}:
        raise _WrongAddress("ssl_check_hostname=true or ssl_check_hostname=false")
    verify = requirement == "required"
    return TlsOptions(
        ca_file=options.get("ssl_ca_certs"),
        certificate_file=options.get("ssl_certfile"),
        key_file=options.get("ssl_keyfile"),
        verify=verify,
        check_hostname=verify and check_hostname == "true",
    )
