"""The exceptions that Ropeline raises, and the one place where errors of redis-py become ours.

RopelineError
├── ConfigurationError       a setting, address or argument is wrong: names field, value and what is right
└── StoreError               Redis or Valkey did not do what it was asked
    ├── StoreUnavailable     not reached: refused, cut, no free connection, no master, cluster down, moving
    │   └── StoreTimeout     no answer in time; the call may have been carried out or not
    ├── StoreLoading         it is reading its data from disk after a start
    ├── StoreReadOnly        it takes no writes: a replica, too few replicas, a disk that refuses to save
    ├── StoreFull            it is at its memory limit
    ├── StoreBusy            a script or a module keeps it busy past its own limit
    ├── StoreDenied          wrong password, or a command or key that the user's rights do not cover
    └── StoreRefused         any other error reply: a fault in a call, never one of the weather
"""

from __future__ import annotations

from typing import ClassVar, Final

from redis import exceptions as redis_errors

__all__ = [
    "REDIS_ERRORS",
    "ConfigurationError",
    "RopelineError",
    "StoreBusy",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreLoading",
    "StoreReadOnly",
    "StoreRefused",
    "StoreTimeout",
    "StoreUnavailable",
    "store_error",
]

_LONGEST_VALUE = 200

REDIS_ERRORS: Final[tuple[type[Exception], ...]] = (
    redis_errors.RedisError,
    redis_errors.RedisClusterException,
    OSError,
)
"""What to catch around a call of redis-py before handing it to `store_error`; time-outs of asyncio are an OSError."""


class RopelineError(Exception):
    """The root of every exception that Ropeline raises on purpose."""


class ConfigurationError(RopelineError):
    """Something the operator wrote is wrong.

    The message is one line, "field: got VALUE, expected EXPECTED". A caller whose value holds a secret
    passes it with the secret taken out.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field, value, expected)
        self.field = field
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > _LONGEST_VALUE:
            shown = f"{shown[:_LONGEST_VALUE]}..."
        return f"{self.field}: got {shown}, expected {self.expected}"


class StoreError(RopelineError):
    """Redis or Valkey did not do what it was asked; the cause is redis-py's own exception."""

    retryable: ClassVar[bool] = True
    """Whether the same call may succeed later although nobody changed a setting or the code."""


class StoreUnavailable(StoreError):
    """The server could not be reached, or the cluster or sentinels know no master for the key."""


class StoreTimeout(StoreUnavailable):
    """The server did not answer in time: whether the call was carried out is unknown."""


class StoreLoading(StoreError):
    """The server has started and is still reading its data."""


class StoreReadOnly(StoreError):
    """The server takes no writes now."""


class StoreFull(StoreError):
    """The server is at `maxmemory`, or a queue at its byte budget, and the call would need more."""


class StoreBusy(StoreError):
    """A script or module runs longer than the server's own limit and lets nobody else in."""


class StoreDenied(StoreError):
    """The credentials are wrong or do not cover the call."""

    retryable = False


class StoreRefused(StoreError):
    """The server answered with an error that only a changed call can avoid."""

    retryable = False


_BY_CLASS: Final[tuple[tuple[type[BaseException], type[StoreError]], ...]] = (
    (redis_errors.BusyLoadingError, StoreLoading),
    (redis_errors.AuthenticationError, StoreDenied),
    (redis_errors.AuthenticationWrongNumberOfArgsError, StoreDenied),
    (redis_errors.AuthorizationError, StoreDenied),
    (redis_errors.NoPermissionError, StoreDenied),
    (redis_errors.ReadOnlyError, StoreReadOnly),
    (redis_errors.OutOfMemoryError, StoreFull),
    (redis_errors.TimeoutError, StoreTimeout),
    (TimeoutError, StoreTimeout),
    (redis_errors.AskError, StoreUnavailable),
    (redis_errors.TryAgainError, StoreUnavailable),
    (redis_errors.ClusterError, StoreUnavailable),
    (redis_errors.ConnectionError, StoreUnavailable),
    (redis_errors.InvalidResponse, StoreUnavailable),
    (redis_errors.CrossSlotTransactionError, StoreRefused),
    (redis_errors.InvalidPipelineStack, StoreRefused),
    (redis_errors.RedisClusterException, StoreUnavailable),
    (OSError, StoreUnavailable),
)

# redis-py has no class of its own for these error codes.
_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "BUSY": StoreBusy,
    "MISCONF": StoreReadOnly,
    "NOREPLICAS": StoreReadOnly,
    "NOAUTH": StoreDenied,
    "NOPERM": StoreDenied,
    "WRONGPASS": StoreDenied,
    "FULL": StoreFull,
    "OOM": StoreFull,
    "READONLY": StoreReadOnly,
    "LOADING": StoreLoading,
    "UNBLOCKED": StoreUnavailable,
}

# A command that the user may not run fails without a code when a script runs it: Valkey's words, and those of Redis 7.0.
_DENIED_IN_SCRIPT: Final = ("ACL failure in script", "The user executing the script can't")


def store_error(error: BaseException) -> StoreError:
    """Return the `StoreError` that says what `error`, raised by redis-py, means for the caller.

    Use as `raise store_error(error) from error`. An error that is a `StoreError` already comes back as it is.
    """
    if isinstance(error, StoreError):
        return error
    return _meaning(error)(_one_line(error))


def _meaning(error: BaseException) -> type[StoreError]:
    # The cluster client hides why its nodes could not be reached, a wrong password for one, behind a class of its own.
    if isinstance(error, redis_errors.RedisClusterException) and isinstance(error.__cause__, redis_errors.RedisError):
        return _meaning(error.__cause__)
    for redis_class, ours in _BY_CLASS:
        if isinstance(error, redis_class):
            return ours
    if str(error).startswith(_DENIED_IN_SCRIPT):
        return StoreDenied
    code = str(error).split(" ", 1)[0].rstrip(":")
    return _BY_CODE.get(code, StoreRefused)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
