"""Signs tickets and reads them back: the cookie that lets a place outlive the store.

A ticket is worth exactly what its signature says. Whatever is wrong with one (tampered with, cut short, made for
another tenant or another purpose, signed by a key that has been removed) reads as no ticket at all, never as an error:
the visitor who shows it is a new visitor.
"""

import binascii
import hashlib
from collections.abc import Sequence
from enum import IntEnum
from hmac import compare_digest
from struct import Struct
from typing import NamedTuple

from itsdangerous.signer import Signer, SigningAlgorithm

from ropeline.lua.errors import ConfigurationError

MIN_KEY_BYTES = 16


class TicketState(IntEnum):
    """What the ticket's holder was when it was signed. The store decides what the holder is now."""

    UNCONFIRMED = 0
    """Holds a drawn place that the store does not know yet."""
    WAITING = 1
    ADMITTED = 2
    EMERGENCY = 3
    """Let in by a process that could not reach the store; its place is that process's own time."""


class Ticket(NamedTuple):
    """What the cookie says about one visitor of one tenant. All numbers are whole, from 0 to 2**64 - 1.

    A named tuple, because one is built for every first sight of a cookie and a frozen dataclass costs three times as
    much to build.
    """

    tenant: str
    """Not carried in the text: it is part of the signature's salt, so the text of another tenant does not verify."""
    id: bytes
    """The visitor's id: the 16 bytes of a UUID."""
    state: TicketState
    place: int
    """Score in the line, microseconds."""
    since: int
    """Tenant clock, milliseconds, of the first admitted visit; 0 unless admitted."""
    end: int
    """Tenant clock, milliseconds, at which the session ends unless it is renewed."""
    epoch: int
    """The epoch of the store that the ticket was signed in."""
    sequence: int
    """The store's sequence number when the ticket was signed."""
    generation: int
    """How many times the line had been flushed when the ticket was signed."""
    estimate: int
    """Tenant clock, milliseconds, at which the visitor was told to expect its turn; 0 when it was told nothing."""

    @property
    def names_window(self) -> bool:
        """Whether the place, a whole second, is that of no visitor: it says when the shuffled pre-queue opened."""
        return self.place % 1_000_000 == 0


_VERSION = 1
_PAYLOAD = Struct(">BB16s7Q")
_PAYLOAD_CHARS = (_PAYLOAD.size * 4 + 2) // 3
_SIGNATURE_CHARS = 43
TICKET_CHARS = _PAYLOAD_CHARS + 1 + _SIGNATURE_CHARS
"""Every ticket has this length; anything else is refused before any work is done on it."""
_PADDING = b"=" * (-_PAYLOAD_CHARS % 4)
_CACHE_LIMIT = 16_384
_STATES = tuple(TicketState)
_STANDARD_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class TicketSigner:
    """Turns tickets into cookie values and back.

    `keys` runs from oldest to newest: all of them verify, the newest one signs. So a key is rotated by appending the
    new one, and the old one is removed once the tickets that it signed are worthless. A signer for another `purpose`
    accepts none of this one's tickets.

    Tickets that were verified before are remembered by the instance, up to a fixed number over all tenants: a removed
    key is gone with the instance that knew it.
    """

    __slots__ = ("_keys", "_purpose", "_signers", "_verified")

    def __init__(self, keys: Sequence[str | bytes], *, purpose: str = "ticket") -> None:
        self._keys = check_keys(keys)
        self._purpose = purpose
        self._signers: dict[str, tuple[_TenantSigner, ...]] = {}
        self._verified: dict[bytes, Ticket] = {}

    def __repr__(self) -> str:
        return f"TicketSigner(<{len(self._keys)} keys hidden>, purpose={self._purpose!r})"

    def sign(self, ticket: Ticket) -> str:
        """The ticket as URL-safe text of `TICKET_CHARS` characters, signed with the newest key."""
        payload = binascii.b2a_base64(_PAYLOAD.pack(_VERSION, ticket[2], ticket[1], *ticket[3:]), newline=False)
        signers = self._signers.get(ticket[0]) or self._signers_of(ticket[0])
        return signers[0].sign(payload.rstrip(b"=").translate(_STANDARD_TO_URL_SAFE)).decode("ascii")

    def read(self, value: str | bytes, tenant: str) -> Ticket | None:
        """The ticket in a cookie or header value, or None unless this signer (or one with its keys) signed it for `tenant`."""
        if isinstance(value, str):
            if not value.isascii():
                return None
            value = value.encode("ascii")
        known = self._verified.get(value)
        if known is not None:
            return known if known[0] == tenant else None
        if len(value) != TICKET_CHARS or value[_PAYLOAD_CHARS] != 0x2E:
            return None
        payload, signature = value[:_PAYLOAD_CHARS], value[_PAYLOAD_CHARS + 1 :]
        for signer in self._signers.get(tenant) or self._signers_of(tenant):
            # Text against text: base64 has several spellings of the same bytes, and only ours is a ticket.
            if compare_digest(signature, signer.get_signature(payload)):
                break
        else:
            return None
        ticket = _unpack(payload, tenant)
        if ticket is not None:
            if len(self._verified) >= _CACHE_LIMIT:
                self._verified.clear()
            self._verified[value] = ticket
        return ticket

    def _signers_of(self, tenant: str) -> "tuple[_TenantSigner, ...]":
        """The tenant's signers, newest key first."""
        salt = f"ropeline\0{self._purpose}\0{tenant}".encode()
        signers = tuple(_TenantSigner(key, salt) for key in reversed(self._keys))
        self._signers[tenant] = signers
        return signers


def check_keys(keys: Sequence[str | bytes]) -> tuple[bytes, ...]:
    """The secret keys as bytes. Raises ConfigurationError, which never shows a key, when they cannot be used."""
    if isinstance(keys, str | bytes):
        raise ConfigurationError("secret_keys", "one text (hidden)", "a list of keys, oldest to newest")
    if not keys:
        raise ConfigurationError(
            "secret_keys",
            [],
            f"at least one key of {MIN_KEY_BYTES} bytes or more, the same in every process"
            " (a random key per process would lose every place)",
        )
    encoded = tuple(key.encode() if isinstance(key, str) else bytes(key) for key in keys)
    for index, key in enumerate(encoded):
        if len(key) < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"secret_keys[{index}]", f"{len(key)} bytes (hidden)", f"{MIN_KEY_BYTES} bytes or more"
            )
    return encoded


def _unpack(payload: bytes, tenant: str) -> Ticket | None:
    raw = binascii.a2b_base64(payload.translate(_URL_SAFE_TO_STANDARD) + _PADDING)
    version, state, id_, *numbers = _PAYLOAD.unpack(raw)
    if version != _VERSION or state >= len(_STATES):
        return None
    return Ticket(tenant, id_, _STATES[state], *numbers)


class _TenantSigner(Signer):
    """itsdangerous' Signer for one key and one salt, with the derived key computed once instead of on every call."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        derivation = Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
        derived = derivation.derive_key()
        super().__init__(derived, salt=salt, key_derivation="none", algorithm=_PreparedHmac(derived))
        self._derived = derived

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:  # noqa: ARG002 - itsdangerous' signature
        return self._derived


class _PreparedHmac(SigningAlgorithm):
    """HMAC-SHA256 under one key whose two padded blocks are hashed beforehand: half the time of `hmac.digest`."""

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def get_signature(self, key: bytes, value: bytes) -> bytes:  # noqa: ARG002 - itsdangerous' signature
        inner = self._inner.copy()
        inner.update(value)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()
