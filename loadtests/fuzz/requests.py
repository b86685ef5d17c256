"""Makes hostile requests, each from its own number, so that one can be made again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from loadtests.fuzz.site import FULL, OPEN, PARTLY

__all__ = ["Attack", "make_attack"]

_SEGMENTS = (
    b"public", b"PUBLIC", b"Public", b"publi%63", b"%70ublic", b"public;a", b"public%20", b"public.", b"public%2f", b"public%5c",
    b"tickets", b"TICKETS", b"%74ickets", b"tickets;a", b"tickets.", b"ticket%73", b"tickets%2f", b"tickets%20",
    b"admin", b"%61dmin", b"..", b".", b"%2e%2e", b"%2E.", b"..;", b"..;a=b", b";x=1", b"..%2f", b"%2f", b"%5c", b"\\", b"..\\",
    b"%00", b"%0a", b"%252e%252e", b"%25252e%25252e", b"%c0%ae%c0%ae", b"%ef%bc%8f", b"%ef%bc%8e%ef%bc%8e", b"%e2%80%a5", b"",
    b"a" * 300, b"%u002e", b"%u2215", b"..%00", b".. ", b"%2e%2e%20", b"%3f", b"%23", b"%3b", b"*", b"~", b"%", b"%2", b"%zz", b"\xe9",
)  # fmt: skip
_METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"get", b"FOO", b"PROPFIND", b"CONNECT", b"PRI",
    b"BREW", b"M-SEARCH", b"\x00", b"G E T", b"GET\t",
)  # fmt: skip
_HOSTS = (FULL.encode(), OPEN.encode(), PARTLY.encode())
_ODD_HOSTS = (
    FULL.upper().encode(), FULL.encode() + b".", FULL.encode() + b":80", FULL.encode() + b":99999", b"", b"localhost", b"*", b"[::1]",
    b"evil.example.net", FULL.encode() + b"/public?x=", FULL.encode() + b"@evil", b"evil@" + FULL.encode(), b"xn--", b"\xff\xfe",
    b"a" * 300, FULL.encode() + b", evil.example.net", b"shop..example.com", b"shop.example.com\t", "ſhop.example.com".encode(),
    "shop。example.com".encode(),
)  # fmt: skip
_HEADERS = (
    (b"x-forwarded-for", b"127.0.0.1, 10.0.0.1"), (b"x-forwarded-host", b"evil.example.net"), (b"x-forwarded-proto", b"https"),
    (b"waiting-room", b"admitted;tenant=full"), (b"waiting_room", b"bypass"), (b"waiting-room-command", b"revoke"),
    (b"Waiting-Room", b"bypass;tenant=full"), (b"x-original-url", b"/admin"), (b"x-rewrite-url", b"/public"),
    (b"x-original-uri", b"/public"), (b"x-forwarded-uri", b"/public/../admin"), (b"x-original-method", b"\xff"),
    (b"accept", b"application/json;q=0.9, */*;q=0.1"), (b"accept", b"text/html;q=nan, application/json;q=1e9"),
    (b"accept", b"," * 500), (b"accept", b"application/json"), (b"accept-language", b"x" * 300), (b"accept-language", b"*;q=0"),
    (b"accept-language", b"../../en"), (b"sec-fetch-dest", b"image"), (b"sec-purpose", b"prefetch"), (b"origin", b"null"),
    (b"origin", b"https://shop.example.com"), (b"origin", b"https://[::1"), (b"access-control-request-method", b"PUT"),
    (b"range", b"bytes=0-1,2-3"), (b"if-none-match", b'"x"'), (b"cookie", b""), (b"waiting-room-token", b"x"),
    (b"waiting-room-alias", b"cfWaitingRoom"), (b"content-type", b"multipart/form-data; boundary=" + b"x" * 80),
    (b"expect", b"100-continue"), (b"sec-fetch-site", b"cross-site"), (b"x-long", b"y" * 4000), (b"user-agent", b"\xf0\x9f\x98\x80"),
)  # fmt: skip
_ENDPOINTS = (
    b"status", b"keepalive", b"leave", b"confirm", b"auth", b"client.js", b"page.js", b"page.css", b"none", b"..", b"status/..", b"",
    b"%73tatus", b"../../public",
)  # fmt: skip
_QUERIES = (
    b"?tenant=full", b"?tenant=open", b"?tenant=%00", b"?beacon=1", b"?return_url=//evil", b"?return_url=/%0d%0ax:y",
    b"?return_url=" + b"%25" * 50, b"?a=b", b"?/public", b"?" + b"&" * 200, b"#x", b"",
)  # fmt: skip
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: " + OPEN.encode() + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """One request as bytes. `is_smuggling`: it has both a length and a transfer coding, and a request behind it."""

    seed: int
    raw: bytes
    is_smuggling: bool = False


def make_attack(seed: int, tickets: list[bytes]) -> Attack:
    """The request of this number; `tickets`: cookie pairs that the gate has given."""
    chance = random.Random(seed)
    turn = chance.random()
    if turn < 0.03:
        return Attack(seed, _smuggling(chance), is_smuggling=True)
    if turn < 0.08:
        return Attack(seed, _handshake(chance, tickets))
    method = chance.choice(_METHODS) if chance.random() < 0.4 else b"GET"
    lines = [(b"host", chance.choice(_ODD_HOSTS if chance.random() < 0.2 else _HOSTS))]
    if chance.random() < 0.03:
        lines.append((b"host", chance.choice(_HOSTS)))
    lines += chance.sample(_HEADERS, chance.randint(0, 4))
    if chance.random() < 0.5:
        lines.append((b"cookie", _cookie(chance, tickets)))
    body = b""
    if chance.random() < 0.2:
        body, header = _body(chance)
        lines.append(header)
    chance.shuffle(lines)
    raw = _request(method, _target(chance), lines, body, version=b"1.0" if chance.random() < 0.05 else b"1.1")
    return Attack(seed, _spoilt(chance, raw) if chance.random() < 0.1 else raw)


def _request(
    method: bytes, target: bytes, lines: list[tuple[bytes, bytes]], body: bytes = b"", *, version: bytes = b"1.1"
) -> bytes:
    head = b"\r\n".join(name + b": " + value for name, value in lines)
    return b"%b %b HTTP/%b\r\n%b\r\n\r\n%b" % (method, target, version, head, body)


def _smuggling(chance: random.Random) -> bytes:
    """A request whose end two servers see in two places, with another request in between."""
    coding = chance.choice((b"chunked", b"Chunked", b"identity, chunked"))
    lines = [
        (b"host", OPEN.encode()),
        (b"content-length", b"%d" % (5 + len(_SMUGGLED))),
        (b"transfer-encoding", coding),
    ]
    chance.shuffle(lines)
    target = chance.choice((b"/", b"/public", b"/.well-known/waiting-room/leave"))
    return _request(b"POST", target, lines, b"0\r\n\r\n" + _SMUGGLED)


def _handshake(chance: random.Random, tickets: list[bytes]) -> bytes:
    lines = [
        (b"host", chance.choice(_HOSTS)),
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"x3JJHMbDL1EzLkh9GBhXDw=="),
        *chance.sample(_HEADERS[:8], chance.randint(0, 2)),
    ]
    if chance.random() < 0.5:
        lines.append((b"cookie", _cookie(chance, tickets)))
    return _request(b"GET", _target(chance), lines)


def _body(chance: random.Random) -> tuple[bytes, tuple[bytes, bytes]]:
    form = b"return_url=" + chance.choice((b"//evil", b"/ok", b"%2f%2fevil", b"/\\evil", b"%0d%0aset-cookie:x"))
    if chance.random() < 0.5:
        return form, (b"content-length", b"%d" % len(form))
    size = chance.choice(
        (b"%x" % len(form), b"%x;ext=1" % len(form), b"0%x" % len(form), b"fffffffffffffffff", b"-1", b"zz")
    )
    return size + b"\r\n" + form + b"\r\n0\r\n\r\n", (b"transfer-encoding", b"chunked")


def _target(chance: random.Random) -> bytes:
    if chance.random() < 0.15:
        return b"/.well-known/waiting-room/" + chance.choice(_ENDPOINTS) + chance.choice(_QUERIES)
    path = b"/" + b"/".join(chance.choice(_SEGMENTS) for _ in range(chance.randint(1, 5)))
    if chance.random() < 0.3:
        path = chance.choice((b"/public/", b"/tickets/", b"/x/../tickets/", b"//public/", b"/public")) + path[1:]
    if chance.random() < 0.1:
        path += bytes(byte for byte in chance.randbytes(12) if 0x21 <= byte < 0x7F or byte > 0x7F)
    if chance.random() < 0.03:
        path = b"http://" + chance.choice((b"evil.example.net", FULL.encode())) + path
    return path + chance.choice((b"", b"", chance.choice(_QUERIES)))


def _cookie(chance: random.Random, tickets: list[bytes]) -> bytes:
    pair = bytearray(chance.choice(tickets))
    turn = chance.random()
    if turn < 0.4:
        for _ in range(chance.randint(1, 3)):
            pair[chance.randrange(len(pair))] = chance.randrange(0x21, 0x7F)
    elif turn < 0.5:
        del pair[chance.randrange(len(pair)) :]
    elif turn < 0.6:
        pair += b"; " + chance.choice(tickets)
    elif turn < 0.7:
        pair = bytearray(b"x" * 5000 + b"; ") + pair
    return bytes(pair)


def _spoilt(chance: random.Random, raw: bytes) -> bytes:
    """A request with some bytes of it changed, doubled, taken out or cut off."""
    spoilt = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(spoilt))
        match chance.randrange(4):
            case 0:
                spoilt[at] = chance.randrange(256)
            case 1:
                del spoilt[at : at + chance.randint(1, 9)]
            case 2:
                spoilt[at:at] = spoilt[at : at + chance.randint(1, 40)]
            case _:
                spoilt[at:at] = chance.choice((b"\r\n", b"\n", b"\0", b" ", b"\t", b"\r", b":", b"%00"))
        if not spoilt:
            break
    return bytes(spoilt)
