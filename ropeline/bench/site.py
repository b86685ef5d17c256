"""The site that the request benchmarks gate, and visitors in the states that they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ropeline.gate import GateMiddleware, GateSettings, TenantSettings
from ropeline.gate.asgi import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["HOSTS", "NAMESPACE", "SECRET", "browser_scope", "forget", "gated", "hello", "ticket_of"]

SECRET = "only for benchmarks on this machine"  # noqa: S105 - signs tickets of a throw-away store

NAMESPACE = "ropeline-bench-gate"
"""First part of every key that a benchmark writes."""

HOSTS = {
    "exempt": "exempt.example.com",
    "waiting_poll": "full.example.com",
    "admitted_strict": "strict.example.com",
    "admitted_recheck": "recheck.example.com",
    "admitted_measured": "measured.example.com",
}
"""The host of each case, a tenant each."""

_BODY = b"hello"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest site there is."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


def gated(redis_url: str) -> GateMiddleware:
    """The site behind the gate: a tenant for each case."""
    bypass = {"action": "bypass", "conditions": [{"subject": "path", "operator": "prefix", "value": "/"}]}
    special: dict[str, dict[str, Any]] = {
        "exempt": {"rules": [bypass]},
        "waiting_poll": {"total_active_users": 0},
        "admitted_strict": {"recheck": 0},
        "admitted_recheck": {},
        "admitted_measured": {"closed_loop": {"enabled": True, "lowest": 1_000_000}},
    }
    tenants = []
    for case, host in HOSTS.items():
        settings = {
            "name": case.replace("_", "-"),
            "host": host,
            "total_active_users": 1_000_000,
            "join_limit_per_ip": 0,
            **special[case],
        }
        tenants.append(TenantSettings.from_mapping(settings, source="benchmark"))
    return GateMiddleware(
        hello,
        GateSettings(redis_url=redis_url, secret_keys=(SECRET,), namespace=NAMESPACE, deadline_ms=10_000),
        tenants=tenants,
    )


def browser_scope(case: str, cookie: str = "") -> dict[str, Any]:
    """An HTTP scope with the headers that a browser sends; a waiting visitor polls the status."""
    path = "/.well-known/waiting-room/status" if case == "waiting_poll" else "/events/42"
    headers = [
        (b"host", HOSTS.get(case, "bare.example.com").encode()),
        (
            b"user-agent",
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36",
        ),
        (b"accept", b"application/json" if case == "waiting_poll" else b"text/html,application/xhtml+xml,*/*;q=0.8"),
        (b"accept-language", b"en-GB,en;q=0.9"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"sec-fetch-site", b"same-origin"),
        (b"sec-fetch-mode", b"cors" if case == "waiting_poll" else b"navigate"),
        (b"sec-fetch-dest", b"empty" if case == "waiting_poll" else b"document"),
        (b"referer", b"https://shop.example.com/events"),
        (b"connection", b"keep-alive"),
    ]
    if cookie:
        headers.append((b"cookie", f"theme=dark; {cookie}; cart=3".encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"tenant={case.replace('_', '-')}".encode() if case == "waiting_poll" else b"",
        "headers": headers,
        "client": ("192.0.2.7", 50_000),
        "server": ("127.0.0.1", 443),
    }


async def ticket_of(app: Callable[[Scope, Receive, Send], Awaitable[None]], case: str, visits: int = 2) -> str:
    """The cookie of a visitor who has come `visits` times."""
    cookie = ""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal cookie
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                cookie = value.decode().partition(";")[0]

    for _ in range(visits):
        await app(browser_scope(case, cookie), receive, send)
    return cookie


async def forget(client: Redis, namespace: str) -> None:
    """Remove every key that was written under a namespace of ours, those of its directory too."""
    for match in (f"{namespace}:*", f"{{{namespace}:*"):
        left = [key async for key in client.scan_iter(match=match, count=1000)]
        for start in range(0, len(left), 1000):
            await client.unlink(*left[start : start + 1000])
