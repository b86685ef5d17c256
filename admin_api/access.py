"""Finds out who calls, by a key or by a login, and refuses whoever may not do what is asked.

A key comes as `Authorization: Bearer rlk_...`. A browser exchanges it for a login: a signed cookie with SameSite=Strict,
which counts for writing only together with the token that the login's answer carried (against forged calls from other
sites). A login ends with its key.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from itsdangerous import BadData, URLSafeTimedSerializer

from ropeline.admin_api.backoff import Backoff
from ropeline.admin_api.operators import KeyRecord, Role
from ropeline.admin_api.problems import UNKNOWN_TENANT, Problem
from ropeline.gate.client_address import ClientAddresses
from ropeline.gate.hosts import is_loopback

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ropeline.admin_api.key_store import KeyStore
    from ropeline.admin_api.settings import AdminSettings

__all__ = ["CSRF_HEADER", "Access", "Operator"]

CSRF_HEADER: Final = "X-CSRF-Token"

_COOKIE: Final = "ropeline-admin"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER: Final = {"WWW-Authenticate": "Bearer"}
_HASH_IN_LOGIN: Final = 32


@dataclass(frozen=True, slots=True)
class Operator:
    """Who calls. `csrf_token` and `login_ends_at` (wall seconds): of a login, None with a key."""

    key: KeyRecord
    csrf_token: str | None = None
    login_ends_at: int | None = None


class Access:
    """Decides for one process who may do what."""

    def __init__(self, settings: AdminSettings, keys: KeyStore) -> None:
        self._keys = keys
        self._addresses = ClientAddresses(settings.trusted_proxies)
        self._login_seconds = settings.admin_login_minutes * 60
        signers = [key.encode() if isinstance(key, str) else key for key in settings.secret_keys]
        self._logins = URLSafeTimedSerializer(signers, salt="ropeline.admin.login")
        self.backoff = Backoff()

    async def admit(self, request: Request, role: Role) -> Operator:
        """Who calls, when it may do what `role` may, on the tenant that the path names.

        Raises Problem: 401 or 429 for who is not known, 403 for who may not, 404 for a tenant of others: whether there is
        one is not for everybody to know.
        """
        operator = await self._identify(request)
        tenant = request.path_params.get("tenant")
        if tenant is not None and not operator.key.covers(str(tenant)):
            raise Problem(404, "unknown_tenant", UNKNOWN_TENANT, "tenant", tenant)
        if operator.key.role < role:
            detail = f"this takes a key with the role {role.word}; yours is {operator.key.role.word}"
            raise Problem(403, "role_too_low", detail, expected=role.word)
        return operator

    async def log_in(self, request: Request, text: str) -> tuple[Operator, str]:
        """The operator whose key this is, and the cookie that stands for it; raises Problem as `admit` does."""
        if not self._is_secure(request) and not self._is_plain_loopback(request):
            detail = "a login over plain http is for this machine alone: a cookie must not travel in the clear"
            raise Problem(403, "https_required", detail)
        record = await self._recognise(request, text)
        token = secrets.token_urlsafe(18)
        cookie = self._logins.dumps([record.id, record.hash[:_HASH_IN_LOGIN], token])
        return Operator(record, token, int(time.time()) + self._login_seconds), str(cookie)

    def set_cookie(self, request: Request, response: Response, cookie: str) -> None:
        """Have a browser keep the login; an empty one ends it."""
        response.set_cookie(
            self._cookie_name(request),
            cookie,
            max_age=self._login_seconds if cookie else 0,
            path="/",
            secure=not self._is_plain_loopback(request),
            httponly=True,
            samesite="strict",
        )

    async def _identify(self, request: Request) -> Operator:
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, text = header.partition(" ")
            if scheme.lower() != "bearer":
                raise Problem(401, "key_required", "expected Authorization: Bearer with a key", headers=_BEARER)
            return Operator(await self._recognise(request, text.strip()))
        cookie = request.cookies.get(self._cookie_name(request))
        if cookie is None:
            detail = "expected a key, as in Authorization: Bearer rlk_..., or a login"
            raise Problem(401, "key_required", detail, headers=_BEARER)
        operator = await self._of_login(cookie)
        if request.method not in _READING:
            shown = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(shown.encode(), str(operator.csrf_token).encode()):
                detail = f"a login writes only with the header {CSRF_HEADER}: the token that it was given"
                raise Problem(403, "csrf_token", detail, CSRF_HEADER)
        return operator

    async def _recognise(self, request: Request, text: str) -> KeyRecord:
        """Whose key this is. A good key passes however many bad ones came from the same address."""
        record = await self._keys.recognise(text)
        if record is not None:
            return record
        wait = self.backoff.failed(self._address(request))
        if wait:
            detail = "too many keys that are not in force came from this address"
            raise Problem(429, "too_many_bad_keys", detail, headers={"Retry-After": str(wait)})
        detail = "this key is not in force: it was never made, was revoked, or has expired"
        raise Problem(401, "bad_key", detail, headers=_BEARER)

    async def _of_login(self, cookie: str) -> Operator:
        try:
            said, signed_at = self._logins.loads(cookie, max_age=self._login_seconds, return_timestamp=True)
            key_id, key_hash, token = said
        except (BadData, ValueError, TypeError):
            raise Problem(401, "login_ended", "this login has ended: log in again", headers=_BEARER) from None
        record = await self._keys.find(key_id)
        if record is None or record.is_expired or record.hash[:_HASH_IN_LOGIN] != key_hash:
            detail = "the key of this login is not in force any more"
            raise Problem(401, "login_ended", detail, headers=_BEARER)
        return Operator(record, token, int(signed_at.timestamp()) + self._login_seconds)

    def _address(self, request: Request) -> bytes:
        peer = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-for", "").encode("latin-1")
        return self._addresses.find(peer, forwarded) or b""

    def _is_secure(self, request: Request) -> bool:
        peer = request.client.host if request.client else ""
        said = request.headers.get("x-forwarded-proto", "") if self._addresses.trusts(peer) else ""
        return (said or request.url.scheme) == "https"

    def _is_plain_loopback(self, request: Request) -> bool:
        return not self._is_secure(request) and is_loopback(request.headers.get("host", "").encode("latin-1"))

    def _cookie_name(self, request: Request) -> str:
        # The prefix has browsers refuse a cookie that another host or a plain connection set.
        return _COOKIE if self._is_plain_loopback(request) else f"__Host-{_COOKIE}"
