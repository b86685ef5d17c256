"""Every way in which the store can fail becomes one of our own errors, and says whether trying again can help."""

import copy
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import exceptions as redis_errors

from ropeline.lua import errors
from ropeline.lua.client import RedisSettings, connect
from ropeline.lua.errors import (
    REDIS_ERRORS,
    ConfigurationError,
    RopelineError,
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
    store_error,
)
from tests.servers import Pair, Server, StartServer, patient
from tests.support import wait_until
from tests.system import find_program

_EVERY_REDIS_ERROR = [
    cls
    for cls in vars(redis_errors).values()
    if isinstance(cls, type) and issubclass(cls, redis_errors.RedisError | redis_errors.RedisClusterException)
]


async def failure_of(url: str, *command: str | int, seconds: float = 5) -> StoreError:
    client = connect(replace(patient(url), call_timeout=timedelta(seconds=seconds)))
    try:
        await client.execute_command(*command)
    except REDIS_ERRORS as error:
        return store_error(error)
    finally:
        await client.aclose()
    pytest.fail(f"{command} was carried out")


def test_a_configuration_error_names_the_field_the_value_and_what_is_right() -> None:
    error = ConfigurationError("port", "99x\n", "a number from 1 to 65535")
    assert str(error) == "port: got '99x\\n', expected a number from 1 to 65535"
    assert (error.field, error.value, error.expected) == ("port", "99x\n", "a number from 1 to 65535")
    assert str(copy.copy(error)) == str(error)


def test_a_configuration_error_stays_one_readable_line_for_any_value() -> None:
    assert len(str(ConfigurationError("rules", "x" * 10_000, "at most 100 rules"))) < 300
    assert "\n" not in str(ConfigurationError("rules", ["a\nb"], "a rule"))


def test_all_errors_are_ropeline_errors() -> None:
    exported = [getattr(errors, name) for name in errors.__all__]
    for cls in exported:
        if isinstance(cls, type):
            assert issubclass(cls, RopelineError)


@pytest.mark.parametrize("cls", _EVERY_REDIS_ERROR, ids=lambda cls: str(cls.__name__))
def test_every_error_of_the_client_library_becomes_ours(cls: type[Exception]) -> None:
    error = cls("1234 127.0.0.1:7000") if issubclass(cls, redis_errors.AskError) else cls("something\nwent wrong")
    assert isinstance(error, REDIS_ERRORS)
    ours = store_error(error)
    assert isinstance(ours, StoreError)
    assert "\n" not in str(ours)
    assert store_error(ours) is ours


async def test_a_server_that_is_gone_is_unavailable_and_worth_a_retry(fresh_server: Server) -> None:
    fresh_server.kill()
    error = await failure_of(fresh_server.url, "PING")
    assert type(error) is StoreUnavailable
    assert error.retryable


async def test_a_server_that_hangs_is_a_timeout(fresh_server: Server) -> None:
    fresh_server.pause()
    assert type(await failure_of(fresh_server.url, "PING", seconds=0.1)) is StoreTimeout


async def test_a_replica_is_read_only(pair: Pair) -> None:
    error = await failure_of(pair.replica.url, "SET", "key", "value")
    assert type(error) is StoreReadOnly
    assert error.retryable


async def test_a_script_that_meets_a_replica_is_read_only_too(pair: Pair) -> None:
    script = "return redis.call('SET', KEYS[1], 'value')"
    assert type(await failure_of(pair.replica.url, "EVAL", script, 1, "key")) is StoreReadOnly


async def test_a_primary_without_enough_replicas_is_read_only(start_server: StartServer) -> None:
    server = start_server("--min-replicas-to-write", "1")
    assert type(await failure_of(server.url, "SET", "key", "value")) is StoreReadOnly


async def test_a_server_at_its_limit_is_full(start_server: StartServer) -> None:
    server = start_server("--maxmemory", "1")
    assert type(await failure_of(server.url, "SET", "key", "value")) is StoreFull
    script = "#!lua\nreturn redis.call('SET', KEYS[1], 'value')"
    assert type(await failure_of(server.url, "EVAL", script, 1, "key")) is StoreFull


async def test_a_server_in_a_long_script_is_busy(start_server: StartServer) -> None:
    server = start_server("--busy-reply-threshold", "20")
    endless = connect(RedisSettings(server.url))
    with pytest.raises(redis_errors.TimeoutError):
        await endless.execute_command("EVAL", "while true do end", 0)

    async def is_busy() -> bool:
        return type(await failure_of(server.url, "SET", "key", "value")) is StoreBusy

    await wait_until(is_busy)
    await endless.aclose()


@pytest.mark.parametrize("credentials", ["", ":wrong@", "nobody:secret@"])
async def test_wrong_credentials_are_denied_and_no_retry_helps(start_server: StartServer, credentials: str) -> None:
    server = start_server("--requirepass", "secret", password="secret")
    error = await failure_of(f"redis://{credentials}127.0.0.1:{server.port}", "PING")
    assert type(error) is StoreDenied
    assert not error.retryable


@pytest.mark.parametrize("program", ["", "redis-server"])
async def test_a_missing_right_is_denied_to_commands_and_scripts(start_server: StartServer, program: str) -> None:
    server = start_server(binary=find_program(program) if program else None)
    server.call("ACL", "SETUSER", "reader", "on", ">secret", "+client|setname", "+get", "+eval", "+publish", "~mine:*")
    server.call("ACL", "SETUSER", "reader", "resetchannels")
    url = f"redis://reader:secret@127.0.0.1:{server.port}"
    for call in (("SET", "mine:key", "value"), ("GET", "other:key"), ("PUBLISH", "channel", "message")):
        assert type(await failure_of(url, *call)) is StoreDenied
        in_script = f"return redis.call('{call[0]}', {', '.join(repr(word) for word in call[1:])})"
        assert type(await failure_of(url, "EVAL", in_script, 0)) is StoreDenied


async def test_a_faulty_call_is_refused_and_no_retry_helps(fresh_server: Server) -> None:
    fresh_server.call("SET", "key", "text")
    for command in (("LPUSH", "key", "value"), ("NO-SUCH-COMMAND",), ("EVAL", "return redis.error_reply('x y')", 0)):
        error = await failure_of(fresh_server.url, *command)
        assert type(error) is StoreRefused
        assert not error.retryable
