"""Opens the socket that a command serves on, and says at which URL it is reached."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["EVERY_ADDRESS", "ending_signals", "in_url", "listen", "loopback"]

EVERY_ADDRESS: Final = ("0.0.0.0", "::")


def listen(host: str, port: int, *, host_option: str = "--host", port_option: str = "--port") -> socket.socket:
    """A listening socket; raises ConfigurationError that names the option when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ConfigurationError(host_option, host, f"an address of this machine ({error.strerror})") from None
        reason = os.strerror(error.errno or 0)
        raise ConfigurationError(port_option, port, f"a port that can be had on {host} ({reason})") from None


def loopback(listener: socket.socket) -> tuple[str, int, str]:
    """Address and port where this machine reaches a listening socket, and what the Host header has to say there."""
    host, port = listener.getsockname()[:2]
    if host in EVERY_ADDRESS:
        host = "127.0.0.1" if listener.family is socket.AF_INET else "::1"
    return host, port, f"{in_url(host)}:{port}"


def in_url(host: str) -> str:
    """An address as a URL has it."""
    return f"[{host}]" if ":" in host else host


def ending_signals() -> list[signal.Signals]:
    """The signals that ask for the end; a hang-up does not when we were started under nohup."""
    hears_hang_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hears_hang_up else [])]
