"""Runs one server binary as a child process: checked to be ours, watched, and ended with us."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ropeline.lua.errors import REDIS_ERRORS, RopelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PortTakenError", "ServerProcess", "ServerStartError", "start_watchdog"]

_START_TIMEOUT_SECONDS = 10.0
_LOAD_TIMEOUT_SECONDS = 120.0
_STOP_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.005
_LOG_TAIL_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_PORT_TAKEN = "Address already in use"


class ServerStartError(RopelineError):
    """The server could not be found or did not come up; the message says why and what helps."""


class PortTakenError(ServerStartError):
    """Somebody took the port before the server could."""


class ServerProcess:
    """One server binary as a child of this process: started, checked to be ours, and ended with us.

    On Linux the kernel kills it when this process is gone, however it went; elsewhere a watchdog does. Start it from
    the main thread: the kernel's rule follows the thread that forked.

    Args:
        command: binary and arguments.
        url: where it will listen, as redis-py reads it.
        keep_open: file descriptors that the child inherits.

    """

    def __init__(self, command: Sequence[str | os.PathLike[str]], url: str, *, keep_open: Sequence[int] = ()) -> None:
        self.url = url
        self._command = [os.fspath(part) for part in command]
        self._keep_open = tuple(keep_open)
        self._child: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._log: int | None = None
        self._last_words = b""

    @property
    def pid(self) -> int:
        """The process id of the child; raises ServerStartError when it does not run."""
        if self._child is None:
            raise ServerStartError("the server has not been started")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Run the binary and return when it has loaded its data and answers at `url` as our own child.

        Raises:
            ServerStartError: it ended, somebody else answers at `url`, or it took too long.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ServerStartError("start the embedded server from the main thread, or it ends with the thread")
        with tempfile.TemporaryFile() as unnamed:
            self._log = os.dup(unnamed.fileno())
        try:
            self._child = subprocess.Popen(  # noqa: S603 - the operator names the binary
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C in the terminal reaches us, and we end the server after the work is done.
                process_group=0,
                preexec_fn=_death_signal(),  # noqa: PLW1509 - only one system call between fork and exec
                pass_fds=self._keep_open,
            )
            if sys.platform != "linux":
                self._watchdog = start_watchdog(self._child.pid)
            self._wait_until_ready(self._child)
        except BaseException as error:
            self.kill()
            if isinstance(error, OSError):
                raise ServerStartError(f"{self._command[0]} cannot be run: {error.strerror}") from error
            raise

    def stop(self) -> None:
        """End the server in good order: what it acknowledged is on disk if it keeps data. Harmless when not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Pass a signal to the server, SIGSTOP and SIGCONT for one."""
        if self._child is not None:
            self._child.send_signal(number)

    def log_tail(self, lines: int = 3) -> str:
        """The last words of the server, of the one that ended when none runs, joined into one line."""
        if self._log is not None:
            # Not by reading on: the child writes at the offset that both share.
            size = os.fstat(self._log).st_size
            self._last_words = os.pread(self._log, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        text = self._last_words.decode(errors="replace")
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    def _end(self, number: signal.Signals) -> None:
        if self._watchdog is not None:
            # Before the child is reaped, or the watchdog might meet its process id on somebody else.
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)
            try:
                self._child.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._child = None
        if self._log is not None:
            self.log_tail()
            os.close(self._log)
            self._log = None

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        started = time.monotonic()
        limit = _START_TIMEOUT_SECONDS
        with redis.Redis.from_url(
            self.url, retry=Retry(NoBackoff(), 0), socket_timeout=1.0, socket_connect_timeout=1.0
        ) as client:
            while True:
                if child.poll() is not None:
                    raise self._ended_at_once()
                with contextlib.suppress(*REDIS_ERRORS):
                    info = client.info()
                    if int(info["process_id"]) != child.pid:
                        raise PortTakenError(f"another server, process {info['process_id']}, answers at {self.url}")
                    if not int(info.get("loading", 0)):
                        return
                    limit = _LOAD_TIMEOUT_SECONDS
                if time.monotonic() - started > limit:
                    raise ServerStartError(f"{self._command[0]} does not answer after {limit:g} s: {self.log_tail()}")
                time.sleep(_POLL_SECONDS)

    def _ended_at_once(self) -> ServerStartError:
        kind = PortTakenError if _PORT_TAKEN in self.log_tail(lines=20) else ServerStartError
        return kind(f"{self._command[0]} ended at once: {self.log_tail()}")


def start_watchdog(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that kills `pid` when this process is gone; kill it itself before `pid` is reaped.

    It reads from a pipe whose other end only we hold: the end of the pipe is the end of us, whatever killed us.
    """
    return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        ["/bin/sh", "-c", 'read -r _; kill -KILL "$0"', str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _death_signal() -> functools.partial[None] | None:
    if sys.platform != "linux":
        return None
    _libc()  # loaded before the fork: between fork and exec nothing may be imported
    return functools.partial(_ask_for_death_signal, os.getpid())


def _ask_for_death_signal(parent: int) -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # the parent was gone before the kernel knew the wish
        os._exit(1)
