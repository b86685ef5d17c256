"""A gated site for a server with several processes: each answer names the process that gave it."""

from __future__ import annotations

import os

from ropeline.gate.asgi import Application, Receive, Scope, Send
from ropeline.gate.middleware import GateMiddleware
from ropeline.gate.settings import GateSettings, TenantSettings


async def named(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def site() -> Application:
    """What uvicorn loads in each of its processes; the settings come from the environment."""
    room_for_all = TenantSettings(name="acme", host="127.0.0.1", total_active_users=100_000, join_limit_per_ip=0)
    return GateMiddleware(named, GateSettings.from_env(), tenants=[room_for_all])
