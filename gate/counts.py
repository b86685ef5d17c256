"""What a gate process counts of its requests, where the other processes of the host can read it.

With a folder, the numbers of each process are a file that is mapped into its memory: to count is one addition there, nothing is
ever written out, and what a killed process has counted stays. Whoever is scraped adds the files up. A process that starts takes over a
file that no living process holds and counts on, so the sums never go back, and there are never more files than processes at
once. Without a folder the numbers are ordinary memory, and a process tells only its own.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ropeline.gate.kinds import Kind
from ropeline.lua.errors import ConfigurationError

__all__ = [
    "DECISION_BOUNDS",
    "FAILING",
    "NOBODY",
    "RULES",
    "STORE_ERRORS",
    "SUSPENDED",
    "Counts",
    "Numbers",
    "Sums",
    "count_time",
    "read_folder",
]

_log = logging.getLogger("ropeline.gate.counts")

Numbers = memoryview
"""What is counted of one tenant: unsigned numbers, by Kind.index and the constants of this module."""

DECISION_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the buckets for decisions that the store was asked about, seconds."""

NOBODY: Final = "."
"""Stands for the tenant of requests that are no tenant's; no tenant has this name."""

_BOUNDS: Final = tuple(round(bound * 1e9) for bound in DECISION_BOUNDS)
_TIMES: Final = len(Kind)
_NANOSECONDS: Final = _TIMES + len(DECISION_BOUNDS) + 1
STORE_ERRORS: Final = _NANOSECONDS + 1
"""Visits that the store did not decide."""
FAILING: Final = STORE_ERRORS + 1
"""1 while this process decides without the store."""
SUSPENDED: Final = FAILING + 1
"""Requests that passed since the tenant is suspended."""
RULES: Final = SUSPENDED + 1
"""From here on: requests that each rule of the tenant let pass, in the order of the settings."""
_MOST_RULES: Final = 100

_NAME_BYTES: Final = 64
# A multiple of 256, so that 64 blocks end where a page of memory does, on every system.
_BLOCK: Final = -(-(_NAME_BYTES + 8 * (RULES + _MOST_RULES)) // 256) * 256
_BLOCKS_A_CHUNK: Final = 64
_CHUNK: Final = _BLOCK * _BLOCKS_A_CHUNK
_MOST_FILES: Final = 1024
_MOMENT_SECONDS: Final = 0.001
# Whoever has another layout has other files.
_PREFIX: Final = f"gate-1-{RULES}-"
_SUFFIX: Final = ".counts"


class Counts:
    """The numbers of this process. `folder`: None keeps them in ordinary memory.

    Raises ConfigurationError when the folder cannot be used.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file = -1
        self._chunks: list[memoryview] = []
        self._tenants: dict[str, Numbers] = {}
        self._used = 0
        if folder is not None:
            try:
                self._file = _take_file(folder)
                self._adopt()
            except OSError as error:
                self.close()
                expected = f"a folder that this process can make and write ({os.strerror(error.errno or 0)})"
                raise ConfigurationError("metrics_folder", str(folder), expected) from None

    def of(self, tenant: str) -> Numbers:
        """The numbers of a tenant, the same memory each time."""
        found = self._tenants.get(tenant)
        if found is None:
            chunk, at = divmod(self._used, _BLOCKS_A_CHUNK)
            if chunk == len(self._chunks):
                self._chunks.append(self._new_chunk())
            self._used += 1
            block = _block(self._chunks[chunk], at)
            block[:_NAME_BYTES] = tenant.encode().ljust(_NAME_BYTES, b"\0")
            found = self._tenants[tenant] = _numbers(block)
        return found

    def sums(self) -> Sums:
        """What all processes of the host have counted, or this one where there is no folder."""
        if self._folder is None:
            return Sums([(b"".join(self._chunks), True)])
        return read_folder(self._folder)

    def close(self) -> None:
        """Let another process take the file over; nothing may be counted afterwards."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _adopt(self) -> None:
        """Map what a process before this one has left, and count on."""
        for number in range(os.fstat(self._file).st_size // _CHUNK):
            chunk = self._map(number)
            self._chunks.append(chunk)
            for at in range(_BLOCKS_A_CHUNK):
                block = _block(chunk, at)
                name = _name(block)
                if not name:
                    return
                self._used += 1
                self._tenants[name] = numbers = _numbers(block)
                numbers[FAILING] = 0

    def _new_chunk(self) -> memoryview:
        if self._file >= 0:
            number = len(self._chunks)
            try:
                # Written and not only reserved: on a full disk a mapped page without a block ends the process.
                os.pwrite(self._file, bytes(_CHUNK), number * _CHUNK)
                return self._map(number)
            except OSError as error:
                _log.error("%s cannot grow (%s): what further tenants do is not counted", self._folder, error.strerror)
        return memoryview(bytearray(_CHUNK))

    def _map(self, number: int) -> memoryview:
        return memoryview(mmap.mmap(self._file, _CHUNK, offset=number * _CHUNK))


class Sums:
    """The numbers of several processes, added up when they are asked for.

    `files`: of each process its blocks, and whether it lives.
    """

    def __init__(self, files: list[tuple[bytes, bool]]) -> None:
        self.living = sum(is_living for _, is_living in files)
        """How many processes count now."""
        self._all: dict[str, list[Numbers]] = {}
        self._living: dict[str, list[Numbers]] = {}
        for text, is_living in files:
            for name, numbers in _tenants(text):
                self._all.setdefault(name, []).append(numbers)
                if is_living:
                    self._living.setdefault(name, []).append(numbers)

    def count(self, tenant: str, at: int) -> int:
        """One number of a tenant: at a Kind.index or at a constant of this module. Of FAILING only the living count."""
        known = self._living if at == FAILING else self._all
        return sum(numbers[at] for numbers in known.get(tenant, ()))

    def times(self, tenant: str) -> tuple[list[int], float]:
        """How many decisions fell into each bucket, and the sum of all, seconds."""
        counts = [self.count(tenant, at) for at in range(_TIMES, _NANOSECONDS)]
        return counts, self.count(tenant, _NANOSECONDS) / 1e9


def count_time(numbers: Numbers, nanoseconds: int) -> None:
    """Count how long a decision took that the store was asked about."""
    numbers[_TIMES + bisect_left(_BOUNDS, nanoseconds)] += 1
    numbers[_NANOSECONDS] += nanoseconds


def read_folder(folder: Path) -> Sums:
    """What all processes have counted that use this folder; nothing where there is none."""
    files = []
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            _log.warning("%s cannot be read (%s): the sums lack it", path, error.strerror)
            continue
        try:
            files.append((os.pread(file, os.fstat(file).st_size, 0), _is_held(file)))
        finally:
            os.close(file)
    return Sums(files)


def _take_file(folder: Path) -> int:
    """Open, and hold as long as the descriptor lives, the first file that no process holds."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(_MOST_FILES):
        path = folder / f"{_PREFIX}{number}{_SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _hold(file):
            return file
        # A scrape that asks whether the file is held holds it for a moment itself.
        time.sleep(_MOMENT_SECONDS)
        if _hold(file):
            return file
        os.close(file)
    raise ConfigurationError("metrics_folder", str(folder), f"a folder that at most {_MOST_FILES} processes use")


def _hold(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _tenants(text: bytes) -> Iterator[tuple[str, Numbers]]:
    whole = memoryview(text)
    for start in range(0, len(text) - len(text) % _BLOCK, _BLOCK):
        block = whole[start : start + _BLOCK]
        name = _name(block)
        if not name:
            return
        yield name, _numbers(block)


def _block(chunk: memoryview, at: int) -> memoryview:
    return chunk[at * _BLOCK : (at + 1) * _BLOCK]


def _name(block: memoryview) -> str:
    return bytes(block[:_NAME_BYTES]).rstrip(b"\0").decode("ascii", "replace")


def _numbers(block: memoryview) -> Numbers:
    return block[_NAME_BYTES:].cast("Q")
