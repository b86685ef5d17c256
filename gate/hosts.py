"""Names hosts in one way, and finds who gates a request by its host and path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ropeline.gate.fields import Text, check_fields, described
from ropeline.gate.paths import path_forms, path_prefix

_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789-_."
_ADDRESS_6 = b"0123456789abcdef:."
_DIGITS = b"0123456789"
_LONGEST_NAME = 253

T = TypeVar("T")


def normalise_host(host: bytes) -> bytes | None:
    """The host of a Host header: lower-case ASCII, without its port and one dot at the end; None when it is no host.

    A name in another script becomes its ASCII (IDNA) form, an IPv6 address keeps its brackets.
    """
    name = host.lower()
    if name[:1] == b"[":
        address, bracket, port = name[1:].partition(b"]")
        if not bracket or not address or address.translate(None, _ADDRESS_6):
            return None
        return b"[" + address + b"]" if port == b"" or (port[:1] == b":" and _is_port(port[1:])) else None
    name, _, port = name.partition(b":")
    if not _is_port(port):
        return None
    if not name.isascii():
        try:
            name = name.decode("utf-8").encode("idna").lower()
        except UnicodeError:
            return None
    if name[-1:] == b".":
        name = name[:-1]
    if not name or len(name) > _LONGEST_NAME or name.translate(None, _NAME):
        return None
    return None if name[0] == 0x2E or name[-1] == 0x2E or b".." in name else name


def _is_port(text: bytes) -> bool:
    return len(text) <= 5 and not text.translate(None, _DIGITS)


def is_loopback(host: bytes) -> bool:
    """Whether a Host header names this machine itself, where browsers allow what they refuse on plain http elsewhere."""
    name = normalise_host(host)
    if name is None:
        return False
    four = name.split(b".")
    is_address = len(four) == 4 and four[0] == b"127" and all(part.isdigit() for part in four)
    return is_address or name in (b"localhost", b"[::1]") or name.endswith(b".localhost")


def host_pattern(text: str) -> str | None:
    """A host of a setting, `shop.example.com` or `*.example.com`, as it is compared; None when it is neither."""
    wildcard = text.startswith("*.")
    name = text[2:] if wildcard else text
    if ":" in name and not name.endswith("]"):
        return None
    try:
        host = normalise_host(name.encode())
    except UnicodeEncodeError:
        return None
    if host is None or (wildcard and host[:1] == b"["):
        return None
    return ("*." if wildcard else "") + host.decode("ascii")


HOST = Text("a host such as shop.example.com, or *.example.com for all below it, without a port", host_pattern)
PATH = Text("an absolute path of plain ASCII, such as /tickets", path_prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a tenant's line stands: a host and everything below a path of it."""

    host: str = field(metadata=described(HOST, "Host that is gated.", example="www.example.com"))
    path: str = field(default="/", metadata=described(PATH, "Path that is gated with everything below it."))

    def __post_init__(self) -> None:
        check_fields(self)


class Router(Generic[T]):
    """Finds what stands at a host and path: at the exact host, else at the nearest wildcard, at its longest path.

    Where nothing of the nearer host covers the path, the wider ones are asked. Of two that claim one route the first
    has it; a check of the settings refuses that.
    """

    __slots__ = ("_hosts", "_wildcards")

    def __init__(self, entries: Iterable[tuple[Sequence[Route], T]]) -> None:
        hosts: dict[str, dict[bytes, T]] = {}
        for routes, entry in entries:
            for route in routes:
                hosts.setdefault(route.host, {}).setdefault(route.path.encode(), entry)
        self._hosts: dict[bytes, _Site[T]] = {}
        self._wildcards: dict[bytes, _Site[T]] = {}
        for host in hosts:
            is_wildcard = host.startswith("*.")
            name = host.removeprefix("*.")
            # The wider wildcards first, so that the nearer hosts overwrite what they cover too.
            labels = name.split(".")
            suffixes = [".".join(labels[start:]) for start in range(len(labels) - 1, 0, -1)]
            paths: dict[bytes, T] = {}
            for pattern in (*(f"*.{suffix}" for suffix in suffixes), host):
                paths = _overlaid(paths, hosts.get(pattern, {}))
            (self._wildcards if is_wildcard else self._hosts)[name.encode()] = _Site(paths)

    def route(self, host: bytes, raw_path: bytes, path: bytes) -> T | None:
        """What gates this request, or None. Takes the Host header as it came, the path as it came and as the server read it.

        A path whose reading is doubtful is gated whenever anything on its host is.
        """
        site = self._hosts.get(host) or self._site(host)
        if site is None:
            return None
        return site.find(raw_path, path) if site.everything is None else site.everything

    def knows(self, host: bytes) -> bool:
        """Whether anything at all is gated on the host of this Host header."""
        return (self._hosts.get(host) or self._site(host)) is not None

    def _site(self, host: bytes) -> "_Site[T] | None":
        name = normalise_host(host)
        if name is None:
            return None
        site = self._hosts.get(name)
        if site is None and self._wildcards:
            dot = name.find(b".")
            while dot >= 0 and site is None:
                site = self._wildcards.get(name[dot + 1 :])
                dot = name.find(b".", dot + 1)
        return site


def _overlaid(wider: dict[bytes, T], nearer: dict[bytes, T]) -> dict[bytes, T]:
    """The paths of the nearer host, and those of the wider one that it does not cover."""
    uncovered = {path: entry for path, entry in wider.items() if not any(_covers(prefix, path) for prefix in nearer)}
    return {**uncovered, **nearer}


def _covers(prefix: bytes, path: bytes) -> bool:
    return prefix in (b"/", path) or path.startswith(prefix + b"/")


class _Site(Generic[T]):
    """The paths that are gated on one host."""

    __slots__ = ("_doubtful", "_longest", "_paths", "everything")

    def __init__(self, paths: dict[bytes, T]) -> None:
        self.everything = paths[b"/"] if len(paths) == 1 and b"/" in paths else None
        self._paths = paths
        self._longest = max(map(len, paths))
        self._doubtful = paths[min(paths, key=len)]

    def find(self, raw_path: bytes, path: bytes) -> T | None:
        forms = path_forms(raw_path, path)
        found = max((self._prefix_of(form) for form in forms.normal), key=len)
        if found:
            return self._paths[found]
        return self._doubtful if forms.doubtful else None

    def _prefix_of(self, path: bytes) -> bytes:
        """The longest of the gated paths that `path` is or lies below, empty when there is none."""
        part = path if len(path) <= self._longest else path[: path.rfind(b"/", 0, self._longest + 1)]
        while part:
            if part in self._paths:
                return part
            part = part[: part.rfind(b"/")]
        return b"/" if b"/" in self._paths else b""
