"""What a gate process tells those who look after it: /healthz, /readyz and, to who may read them, /metrics.

Below the gate's own prefix on every host, where visitors come by, the metrics are for those who show the token. The same pages are an
ASGI application, for a port or a mount of its own, where no token is asked for unless one is set.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.exposition import CONTENT_TYPE
from ropeline.gate.asgi import Receive, Scope, Send, send_response
from ropeline.gate.counts import read_folder
from ropeline.gate.deadline import within
from ropeline.gate.metrics import Metrics
from ropeline.gate.responses import EVERY_ANSWER, Response, problem
from ropeline.gate.survey import Survey
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.errors import REDIS_ERRORS, RopelineError, StoreError, store_error

if TYPE_CHECKING:
    from ropeline.gate.gate import Gate

__all__ = ["MetricsPage", "OperatorPages", "alive", "metrics_page"]

_FRESH_SECONDS: Final = 1.0


class MetricsPage:
    """/metrics as an ASGI application of its own. `token`: who reads it has to show it, None: nobody has to."""

    def __init__(self, metrics: Metrics, token: str | None = None) -> None:
        self._metrics = metrics
        self._token = token

    async def answer(self, method: str, authorization: bytes) -> Response:
        """The answer to one request, given its Authorization header."""
        if method not in ("GET", "HEAD"):
            return _not_allowed()
        if self._token is not None and not _shows(authorization, self._token):
            response = problem(401, "unauthorized", "Authorization: expected Bearer and the token for the metrics")
            response.headers.append((b"www-authenticate", b"Bearer"))
            return response
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"cache-control", b"no-store")]
        return Response(200, headers, await self._metrics.text())

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http":
            response = await self.answer(scope["method"], _header(scope, b"authorization"))
            await send_response(send, response, is_head=scope["method"] == "HEAD")


def metrics_page(
    store: TenantStore,
    *,
    deadline: float,
    folder: Path | None = None,
    token: str | None = None,
    known: dict[str, StoredTenant] | None = None,
) -> MetricsPage:
    """The metrics for a process that is no gate: of all tenants in the store, and of the gates of this host with `folder`.

    `deadline`: seconds for one call of the store. `folder`: the gates' `metrics_folder`, None: nothing of their requests. `token`: as
    in MetricsPage. `known`: as in Survey.
    """
    survey = Survey(store, deadline=deadline, known=known)
    return MetricsPage(Metrics(survey, None if folder is None else partial(read_folder, folder)), token)


class OperatorPages:
    """The pages of one gate process, and an ASGI application that serves them at /healthz, /readyz and /metrics.

    What they ask the store is kept for a second, whoever asks how often.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        survey = Survey(
            gate.store,
            deadline=gate.settings.deadline_ms / 1000,
            served=gate.directory.tenants.values,
        )
        self._metrics = MetricsPage(Metrics(survey, gate.counted), gate.settings.metrics_token)
        self._problem = ""
        self._looked_at = -_FRESH_SECONDS
        self._looking = asyncio.Lock()
        self._pages: dict[bytes, Callable[[str, bytes], Awaitable[Response]]] = {
            b"healthz": self._healthz,
            b"readyz": self._readyz,
            b"metrics": self._metrics.answer,
        }

    async def answer(self, name: bytes, method: str, authorization: bytes) -> Response | None:
        """The answer of the page of this name, None when there is none that visitors may know of."""
        page = self._pages.get(name)
        if page is None or (name == b"metrics" and self._gate.settings.metrics_token is None):
            return None
        return await page(method, authorization)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope: beside the gated site, or mounted."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            name = scope["path"].removeprefix(scope.get("root_path", "")).strip("/").encode()
            page = self._pages.get(name)
            if page is None:
                response = problem(404, "unknown_page", "path: there are healthz, readyz and metrics")
            else:
                response = await page(scope["method"], _header(scope, b"authorization"))
            await send_response(send, response, is_head=scope["method"] == "HEAD")

    async def _healthz(self, method: str, _authorization: bytes) -> Response:
        return alive(method)

    async def _readyz(self, method: str, _authorization: bytes) -> Response:
        """200 while the gate was started and the store answers, else 503."""
        if method not in ("GET", "HEAD"):
            return _not_allowed()
        async with self._looking:
            if time.monotonic() - self._looked_at > _FRESH_SECONDS:
                self._problem, self._looked_at = await self._look(), time.monotonic()
        return _said(503, self._problem) if self._problem else _said(200, "ok")

    async def _look(self) -> str:
        """What keeps the gate from deciding by the store, empty: nothing."""
        try:
            await self._gate.start()
            await within(self._gate.settings.deadline_ms / 1000, self._ping())
        except StoreError:
            return "the store does not answer"
        except RopelineError:
            # What is wrong is the operator's to read, in the log.
            return "the waiting room is not set up rightly"
        return ""

    async def _ping(self) -> None:
        try:
            await self._gate.store.client.execute_command("PING")
        except REDIS_ERRORS as error:
            raise store_error(error) from error


def alive(method: str) -> Response:
    """What /healthz says: 200 while the process answers at all."""
    return _said(200, "ok") if method in ("GET", "HEAD") else _not_allowed()


def _shows(authorization: bytes, token: str) -> bool:
    scheme, _, shown = authorization.partition(b" ")
    return scheme.lower() == b"bearer" and compare_digest(shown.strip(), token.encode())


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key.lower() == name), b"")


def _said(status: int, text: str) -> Response:
    body = json.dumps({"status": text}).encode() + b"\n"
    return Response(status, [*EVERY_ANSWER, (b"content-type", b"application/json")], body)


def _not_allowed() -> Response:
    response = problem(405, "method_not_allowed", "method: expected GET or HEAD")
    response.headers.append((b"allow", b"GET, HEAD"))
    return response
