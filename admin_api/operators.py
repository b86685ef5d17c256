"""Who may do what: the roles, the keys by which operators show who they are, and what is kept of a key.

A key is `rlk_ID_SECRET`: the secret is 256 random bits and a tag of 48 bits that only a holder of the installation's secret
keys can make, so that a guess is refused without asking the store. The store keeps a keyed hash (BLAKE2b) over the secret
and over what the key may do. A slow hash would protect a secret that could be guessed; nobody searches 256 bits, and a slow
one would be a way to keep the API busy. Keyed: who can write into the store, and does not have the secret keys, can neither
make a key nor change what one may do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NamedTuple

from ropeline.gate.fields import SLUG, Choice, Integer, ListOf, Text, check_fields, described, line_of_text
from ropeline.lua.errors import ConfigurationError

__all__ = ["PREFIX", "KeyDraft", "KeyRecord", "KeyRing", "Presented", "Role"]

PREFIX: Final = "rlk_"

_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43
_TAG_LENGTH: Final = 8
_DAY: Final = 86_400


class Role(IntEnum):
    """What an operator may do; each may do what those before it may."""

    VIEWER = 1
    """Sees tenants and changes nothing."""
    TENANT_ADMIN = 2
    """Changes its tenants, but not where they stand."""
    SUPERUSER = 3
    """Everything, on every tenant."""

    @property
    def word(self) -> str:
        """The role as the API and the command write it."""
        return self.name.lower()


_ROLES: Final = {role.word: role for role in Role}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDraft:
    """A key that is to be made. Raises ConfigurationError for what cannot be."""

    name: str = field(
        metadata=described(
            Text("1 to 100 printable characters", line_of_text(100)), "Whose key it is.", example="Anna's laptop"
        )
    )
    role: str = field(
        metadata=described(
            Choice(tuple(_ROLES)),
            "`viewer` sees tenants, `tenant_admin` changes those that are named, but not where they stand,"
            " `superuser` may do everything.",
        )
    )
    tenants: tuple[str, ...] = field(
        default=(),
        metadata=described(
            ListOf(SLUG, 100),
            "The tenants that the key is for. A superuser's is for all, and so is a viewer's that names none.",
            example=["acme"],
        ),
    )
    expires_in_days: int | None = field(
        default=90,
        metadata=described(Integer(1, 3650, absent="never"), "How long the key is good for.", "days"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.role == "superuser" and self.tenants:
            raise ConfigurationError("tenants", list(self.tenants), "none, since a superuser's key is for all")
        if self.role == "tenant_admin" and not self.tenants:
            raise ConfigurationError("tenants", [], "at least one tenant for a tenant_admin")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key; nothing in it is secret. `made_at`, `expires_at`: wall seconds, None never."""

    id: str
    name: str
    role: Role
    tenants: tuple[str, ...]
    made_at: int
    made_by: str
    expires_at: int | None
    hash: str = ""

    @property
    def actor(self) -> str:
        """Who does something with this key, for the audit trail."""
        return f"key:{self.id}"

    @property
    def is_expired(self) -> bool:
        """Whether its time is over, by this process's clock."""
        return self.expires_at is not None and self.expires_at <= time.time()

    def covers(self, tenant: str) -> bool:
        """Whether the key is for this tenant."""
        return self.role is Role.SUPERUSER or tenant in self.tenants or (self.role is Role.VIEWER and not self.tenants)

    def encode(self) -> str:
        """The record as the store keeps it."""
        return json.dumps(
            {
                "name": self.name,
                "role": self.role.word,
                "tenants": list(self.tenants),
                "made_at": self.made_at,
                "made_by": self.made_by,
                "expires_at": self.expires_at,
                "hash": self.hash,
            }
        )

    @classmethod
    def decode(cls, key_id: str, text: str) -> KeyRecord | None:
        """The record that `encode` wrote; None for anything else, which opens nothing."""
        try:
            said = json.loads(text)
            return cls(
                key_id,
                str(said["name"]),
                _ROLES[said["role"]],
                tuple(str(tenant) for tenant in said["tenants"]),
                int(said["made_at"]),
                str(said["made_by"]),
                None if said["expires_at"] is None else int(said["expires_at"]),
                str(said["hash"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


class Presented(NamedTuple):
    """The parts of a key that somebody shows."""

    id: str
    secret: str


class KeyRing:
    """Makes keys and recognises them by the installation's secret keys, oldest to newest."""

    def __init__(self, secret_keys: Sequence[str | bytes]) -> None:
        self._keys = [
            hashlib.blake2b(key.encode() if isinstance(key, str) else key, digest_size=32, person=b"ropeline-admin")
            .digest()
            for key in secret_keys
        ]  # fmt: skip

    def make(self, draft: KeyDraft, *, made_by: str) -> tuple[str, KeyRecord]:
        """A new key, to be shown once, and its record."""
        key_id, secret, now = secrets.token_hex(_ID_LENGTH // 2), secrets.token_urlsafe(32), int(time.time())
        expires_at = None if draft.expires_in_days is None else now + draft.expires_in_days * _DAY
        record = KeyRecord(key_id, draft.name, _ROLES[draft.role], draft.tenants, now, made_by, expires_at)
        newest = self._keys[-1]
        text = f"{PREFIX}{key_id}_{secret}{_tag(newest, key_id, secret)}"
        return text, replace(record, hash=_hash(newest, record, secret))

    def read(self, text: str) -> Presented | None:
        """The parts of a key that was made by one of the secret keys; None for every other text."""
        key_id, line, rest = text.removeprefix(PREFIX).partition("_")
        secret, tag = rest[:_SECRET_LENGTH], rest[_SECRET_LENGTH:]
        is_long_enough = len(key_id) == _ID_LENGTH and len(tag) == _TAG_LENGTH
        if not text.startswith(PREFIX) or not text.isascii() or not line or not is_long_enough:
            return None
        good = [hmac.compare_digest(_tag(key, key_id, secret), tag) for key in self._keys]
        return Presented(key_id, secret) if any(good) else None

    def opens(self, shown: Presented, record: KeyRecord) -> bool:
        """Whether the key that is shown is the one of the record, unchanged."""
        good = [hmac.compare_digest(_hash(key, record, shown.secret), record.hash) for key in self._keys]
        return any(good)


def _tag(key: bytes, key_id: str, secret: str) -> str:
    digest = hashlib.blake2b(f"{key_id}_{secret}".encode(), key=key, digest_size=6, person=b"tag").digest()
    return urlsafe_b64encode(digest).decode()


def _hash(key: bytes, record: KeyRecord, secret: str) -> str:
    """Over the secret and all that the key may do."""
    said = json.dumps([record.id, record.role.word, list(record.tenants), record.expires_at, secret])
    return hashlib.blake2b(said.encode(), key=key, digest_size=32, person=b"record").hexdigest()
