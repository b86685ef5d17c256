"""The metrics as an AWS Lambda of its own: `ropeline.gate.metrics_lambda.handler` answers a scrape at its own URL.

It takes the events of a Function URL or of an HTTP API (payload format 2.0) and tells what the store tells: lines, admissions, waits. What
each gate process counts of its requests is not there: another machine has that. Its settings are ROPELINE_REDIS_URL,
ROPELINE_NAMESPACE and ROPELINE_METRICS_TOKEN, which it does not answer without; a scrape is a read, and opens a connection of its own,
since one that slept through the time between two scrapes may be dead.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import os
import secrets
from collections.abc import Mapping
from typing import Any, Final

from ropeline.gate.operator_pages import metrics_page
from ropeline.gate.responses import Response, problem
from ropeline.gate.settings import GateSettings
from ropeline.gate.tenant_store import StoredTenant, TenantStore
from ropeline.lua.client import connect
from ropeline.lua.errors import REDIS_ERRORS, ConfigurationError

__all__ = ["MetricsHandler", "handler"]

_log = logging.getLogger("ropeline.gate.metrics_lambda")

_MISCONFIGURED: Final = "the metrics of this waiting room are not set up rightly"
# A cold start connects, and reads the settings of every tenant.
_DEADLINE_MS: Final = "2000"


class MetricsHandler:
    """Answers scrapes with these settings; what it has read of tenants' settings stays from one to the next.

    `environ`: the variables; raises ConfigurationError for one that is wrong, or without a token.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        # A gate's settings need keys, and nothing is signed here.
        given = {"ROPELINE_DEADLINE_MS": _DEADLINE_MS, **environ, "ROPELINE_SECRET_KEYS": secrets.token_hex(16)}
        self._settings = settings = GateSettings.from_env(given)
        if settings.metrics_token is None:
            raise ConfigurationError("ROPELINE_METRICS_TOKEN", "", "a token, since its URL is open to everybody")
        self._known: dict[str, StoredTenant] = {}

    async def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one event."""
        settings = self._settings
        client = connect(settings.store())
        try:
            store = TenantStore(client, settings.namespace)
            deadline, token = settings.deadline_ms / 1000, settings.metrics_token
            page = metrics_page(store, deadline=deadline, token=token, known=self._known)
            headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
            method = str(event.get("requestContext", {}).get("http", {}).get("method", "GET"))
            response = await page.answer(method, headers.get("authorization", "").encode("latin-1", "replace"))
        finally:
            try:
                await client.aclose()
            except REDIS_ERRORS as error:
                _log.info("a connection to the store did not close in good order: %s", error)
        return _told(response, is_head=method == "HEAD", may_zip="gzip" in headers.get("accept-encoding", ""))


_handler: MetricsHandler | None = None


def handler(event: Mapping[str, Any], _context: object = None) -> dict[str, Any]:
    """What AWS calls."""
    global _handler  # noqa: PLW0603 - AWS calls a plain function again and again in one process
    try:
        if _handler is None:
            _handler = MetricsHandler(os.environ)
    except ConfigurationError as error:
        _log.error("%s", error)
        return _told(problem(500, "misconfigured", _MISCONFIGURED))
    return asyncio.run(_handler.answer(event))


def _told(response: Response, *, is_head: bool = False, may_zip: bool = False) -> dict[str, Any]:
    """The response as API Gateway wants it; a Lambda may answer with 6 MB, so a client that can has it compressed."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    answer: dict[str, Any] = {"statusCode": response.status, "headers": headers, "isBase64Encoded": False}
    if is_head:
        answer["body"] = ""
    elif may_zip:
        headers["content-encoding"] = "gzip"
        answer["body"] = base64.b64encode(gzip.compress(response.body, compresslevel=5)).decode("ascii")
        answer["isBase64Encoded"] = True
    else:
        answer["body"] = response.body.decode("utf-8")
    return answer
