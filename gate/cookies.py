"""Knows the cookie that carries a tenant's ticket: its name, where it is in a request, and how it is set."""

from ropeline.gate.cookie_header import find_cookie
from ropeline.gate.hosts import is_loopback
from ropeline.gate.request import GateRequest
from ropeline.gate.settings import TenantSettings

_DAY_SECONDS = 86_400


class TicketCookie:
    """The cookie of one tenant. Its texts are made once.

    The name promises what the browser enforces: `__Host-` that no other host has set it, `__Secure-` (for a tenant with a
    domain) that it came over TLS. Only plain http from a loopback address, or `secure = "never"`, goes without.
    """

    __slots__ = ("_guarded", "_guarded_tail", "_plain", "_plain_tail", "_secure", "max_age")

    def __init__(self, settings: TenantSettings) -> None:
        attributes = settings.cookie_attributes
        name = f"wr_{settings.name}="
        domain = f"; Domain={attributes.domain}" if attributes.domain else ""
        samesite = "lax" if attributes.samesite == "auto" else attributes.samesite
        self._secure = attributes.secure
        self._guarded = f"{'__Secure-' if domain else '__Host-'}{name}".encode()
        self._guarded_tail = f"{domain}; Path=/; HttpOnly; SameSite={samesite.capitalize()}; Secure".encode()
        # Browsers refuse SameSite=None without Secure.
        plain_samesite = "lax" if samesite == "none" else samesite
        self._plain = name.encode()
        self._plain_tail = f"{domain}; Path=/; HttpOnly; SameSite={plain_samesite.capitalize()}".encode()
        # A day longer than the tenant clock allows: it stands still while the store is away, a browser's does not.
        holds_ms = max(settings.waiting_ttl_ms, settings.session_ttl_ms) + settings.return_within_ms
        self.max_age = holds_ms // 1000 + _DAY_SECONDS

    def find(self, request: GateRequest) -> bytes | None:
        """The value of the tenant's cookie in a request, or None."""
        header = request.header(b"cookie")
        return find_cookie(header, self._plain if self.is_plain(request) else self._guarded) if header else None

    def set(self, value: str, request: GateRequest) -> bytes:
        """The Set-Cookie header that answers `request` with a new ticket."""
        return self._line(request, value.encode("ascii"), self.max_age)

    def clear(self, request: GateRequest) -> bytes:
        """The Set-Cookie header that takes the ticket back."""
        return self._line(request, b"", 0)

    def _line(self, request: GateRequest, value: bytes, max_age: int) -> bytes:
        if self.is_plain(request):
            return b"%b%b; Max-Age=%d%b" % (self._plain, value, max_age, self._plain_tail)
        return b"%b%b; Max-Age=%d%b" % (self._guarded, value, max_age, self._guarded_tail)

    def is_plain(self, request: GateRequest) -> bool:
        """Whether the cookie of this request goes without the protection of its name."""
        if self._secure != "auto":
            return self._secure == "never"
        return not request.is_secure and is_loopback(request.host)
