"""The folder in which `ropeline up` keeps what has to outlive it, and tells other commands where its store is."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ropeline.cli.place import URL_FILE
from ropeline.gate.tickets import check_keys
from ropeline.lua.errors import ConfigurationError

__all__ = ["KEY_FILE", "DataFolder"]

KEY_FILE: Final = "secret.key"
_TOKEN_FILE: Final = "metrics.token"  # noqa: S105 - the name of a file
_ADMIN_KEY_FILE: Final = "admin.key"
_SOCKET_FILE: Final = "store.sock"
_LONGEST_SOCKET_PATH: Final = 100


class DataFolder:
    """The folder at `path`, made when it is missing, for its owner alone; raises ConfigurationError when that fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from None

    @property
    def socket(self) -> Path | None:
        """Where the store listens: only who may enter the folder reaches it. None: the path is too long for a socket."""
        socket = (self.path / _SOCKET_FILE).absolute()
        return socket if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH else None

    def secret_key(self) -> str:
        """The key that signs tickets; the same one as long as the folder lives."""
        path = self.path / KEY_FILE
        key = _made_once(path)
        try:
            check_keys([key])
        except ConfigurationError as error:
            raise ConfigurationError(
                str(path), error.value, f"{error.expected}; remove the file for a new one"
            ) from None
        return key

    @property
    def metrics_token_file(self) -> Path:
        """Where the token for the metrics is, for Prometheus to read."""
        return self.path / _TOKEN_FILE

    def metrics_token(self) -> str:
        """The token for the metrics; the same one as long as the folder lives."""
        return _made_once(self.metrics_token_file)

    def admin_key(self) -> str:
        """The key to the operators' API that was kept here, empty when there is none."""
        try:
            return (self.path / _ADMIN_KEY_FILE).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(self.path / _ADMIN_KEY_FILE, error) from None

    def keep_admin_key(self, key: str) -> None:
        """Keep a key to the operators' API, for the owner of the folder alone."""
        path = self.path / _ADMIN_KEY_FILE
        try:
            _write_private(path, f"{key}\n", os.O_TRUNC)
        except OSError as error:
            raise _unusable(path, error) from None

    @contextmanager
    def announced(self, url: str) -> Iterator[None]:
        """While the block runs, `ropeline tenant`, `status` and `doctor` find the store at `url`."""
        path = self.path / URL_FILE
        text = f"{url}\n"
        try:
            _write_private(path, text, os.O_TRUNC)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if path.read_text(encoding="utf-8") == text:
                    path.unlink()


def _made_once(path: Path) -> str:
    """The secret in a file, which is made with a new one when it is missing."""
    try:
        with contextlib.suppress(FileExistsError):
            _write_private(path, f"{secrets.token_urlsafe(32)}\n", os.O_EXCL)
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _unusable(path, error) from None


def _write_private(path: Path, text: str, flags: int) -> None:
    """Write a file that its owner alone may read, from its first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def _unusable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigurationError:
    reason = error.strerror if isinstance(error, OSError) else "it is no text"
    return ConfigurationError("--data", str(path), f"a folder that can be made, read and written ({reason})")
