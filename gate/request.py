"""Holds what the gate looks at in one request, read once from the ASGI scope and nowhere else."""

from collections.abc import Collection, Mapping
from typing import Any

from ropeline.gate.errors import BadRequest
from ropeline.gate.paths import PathForms, path_forms

_NOWHERE = ("", 0)


class GateRequest:
    """One request or WebSocket handshake, in the bytes that the client sent.

    `headers`: lower-case names and values in their order. `raw_path`: the path of the request line without the query.
    `path`: what the server made of it, which is what the site behind the gate will act on. `peer`: address of the other
    end of the connection, empty when it has none. Raises BadRequest for a request that two servers would read differently:
    other than one Host, a length together with a transfer coding, two lengths.
    """

    __slots__ = ("_forms", "_headers", "is_websocket", "method", "path", "peer", "query", "raw_path", "scheme")

    def __init__(
        self,
        method: str,
        scheme: str,
        raw_path: bytes,
        path: bytes,
        *,
        headers: Collection[tuple[bytes, bytes]],
        query: bytes = b"",
        peer: str = "",
        is_websocket: bool = False,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.raw_path = raw_path
        self.path = path
        self.query = query
        self.peer = peer
        self.is_websocket = is_websocket
        self._forms: PathForms | None = None
        self._headers = known = dict(headers)
        if len(known) != len(headers):
            self._headers = known = _joined(headers)
        if b"host" not in known:
            raise BadRequest("a request needs exactly one Host header")
        if b"transfer-encoding" in known and b"content-length" in known:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other")

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> "GateRequest":
        """The request of an ASGI `http` or `websocket` scope."""
        path = scope["path"].encode("utf-8", "surrogateescape")
        raw_path = scope.get("raw_path") or path
        if raw_path.find(b"?") >= 0:
            raw_path = raw_path.partition(b"?")[0]
        is_websocket = scope["type"] == "websocket"
        return cls(
            "GET" if is_websocket else scope["method"],
            scope.get("scheme", "http"),
            raw_path,
            path,
            headers=scope["headers"],
            query=scope.get("query_string", b""),
            peer=(scope.get("client") or _NOWHERE)[0],
            is_websocket=is_websocket,
        )

    def about(self, method: str, raw_path: bytes, query: bytes, *, host: bytes = b"") -> "GateRequest":
        """The same client asking for something else: what a proxy that only asks for a decision was asked for itself.

        `host`: that it was asked for; empty: the one of this request.
        """
        headers = tuple({**self._headers, b"host": host or self.host}.items())
        return GateRequest(method, self.scheme, raw_path, raw_path, headers=headers, query=query, peer=self.peer)

    def lacks(self, names: frozenset[bytes]) -> bool:
        """Whether the request has none of these headers, given by their lower-case names."""
        return self._headers.keys().isdisjoint(names)

    def header(self, name: bytes) -> bytes:
        """The value of a header by its lower-case name, empty when it is absent; several are joined by commas."""
        return self._headers.get(name, b"")

    @property
    def host(self) -> bytes:
        """The Host header as it came, port included."""
        return self._headers[b"host"]

    @property
    def is_secure(self) -> bool:
        """Whether the connection is TLS, as far as the server knows."""
        return self.scheme in ("https", "wss")

    @property
    def forms(self) -> PathForms:
        """The path as the various sites would read it."""
        if self._forms is None:
            self._forms = path_forms(self.raw_path, self.path)
        return self._forms


def _joined(headers: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers of a request that repeats some."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in joined:
            joined[name] = value
        elif name == b"host":
            raise BadRequest("a request needs exactly one Host header")
        elif name == b"content-length":
            raise BadRequest("a request has at most one Content-Length header")
        else:
            joined[name] += (b"; " if name == b"cookie" else b", ") + value
    return joined
