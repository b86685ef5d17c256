"""Each script does on every kind of server what its header and its one typed method say."""

import inspect
import os
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ropeline.lua.calls import CommandClient
from ropeline.lua.errors import StoreFull, StoreReadOnly, StoreRefused
from ropeline.lua.keys import (
    CronKeys,
    DirectoryKeys,
    LockKeys,
    QueueKeys,
    StreamKeys,
    TenantKeys,
    locks_key,
    queues_key,
)
from ropeline.lua.line_settings import LineSettings
from ropeline.lua.loader import load_script, script_names
from ropeline.lua.results import Verdict
from ropeline.lua.scripts import DirectoryScripts, LineScripts
from ropeline.lua.stream_scripts import StreamCronScripts
from ropeline.lua.visits import Departure
from tests.lua.every_script import SETTINGS, WRAPPERS, Recorder, a_visit, call_each_script, decided
from tests.lua.headers import read_header
from tests.servers import Cluster, Pair, Server, StartServer
from tests.system import find_program

# What a method makes out of itself rather than takes from its caller.
DERIVED = {"now", "run", "channel", "message", "count"}
# The scripts that a full server refuses, and those that write nothing; all others must run on a full server too.
FLAGS = {
    "line/visit": "",
    "directory/claim_routes": "",
    "access/create_key": "",
    "queue/enqueue": "",
    "queue/take_over": "",
    "streams/enqueue": "",
    "streams/take_over": "",
    "streams/fire": "",
    "streams/depths": "flags=no-writes",
    "streams/view": "flags=no-writes",
    "streams/list": "flags=no-writes",
    "cron/define": "",
    "cron/fire": "",
    "lock/acquire": "",
    "locks/note": "",
    "line/status": "flags=no-writes",
    "session/find": "flags=no-writes",
    "session/page": "flags=no-writes",
    "queue/depths": "flags=no-writes",
    "queue/view": "flags=no-writes",
    "cron/read": "flags=no-writes",
    "cron/definitions": "flags=no-writes",
    "lock/view": "flags=no-writes",
}


@pytest.fixture
async def client(any_server: Server) -> AsyncIterator[CommandClient]:
    client = any_server.connect()
    yield client
    await client.aclose()


def method_of(name: str) -> Any:
    folder, _, method = name.partition("/")
    wrapper = StreamCronScripts if name == "streams/fire" else WRAPPERS[folder].wrapper
    return getattr(wrapper, "visit" if method == "visit_full" else method)


@pytest.mark.parametrize("name", script_names())
def test_a_header_says_what_the_typed_method_takes(name: str) -> None:
    header = read_header(load_script(name).text)
    taken = [parameter for parameter in inspect.signature(method_of(name)).parameters if parameter != "self"]
    said = [argument for argument in header.arguments if argument not in DERIVED]
    assert header.name == name.partition("/")[2]
    # What may be given several times is a plural of the method.
    assert {argument if argument in taken else f"{argument}s" for argument in said} == set(taken)
    assert header.returns
    assert header.cost.startswith("O(")


@pytest.mark.parametrize("name", [name for name in script_names() if name.startswith("streams/")])
def test_a_script_with_the_body_of_another_one_says_the_same_of_it(name: str) -> None:
    source = (resources_folder() / f"{name}.lua").read_text(encoding="utf-8")
    body = re.search(r'^--- @body "(.*)"$', source, re.MULTILINE)
    if body:
        header, other = read_header(source), read_header(load_script(body[1]).text)
        assert header == replace(other, keys=header.keys)


@pytest.mark.parametrize("name", script_names())
def test_a_header_names_the_keys_in_their_order(name: str) -> None:
    header = read_header(load_script(name).text)
    keys = WRAPPERS[name.partition("/")[0]].keys(name)
    assert header.keys == tuple(key.rpartition(":")[2] for key in keys)


@pytest.mark.parametrize("name", script_names())
def test_only_scripts_that_add_something_are_refused_by_a_full_server(name: str) -> None:
    assert read_header(load_script(name).text).flags == FLAGS.get(name, "flags=allow-oom")


async def test_as_many_keys_and_arguments_are_sent_as_the_headers_number(
    client: CommandClient, tenant_name: str
) -> None:
    recorder = Recorder(client)
    await call_each_script(recorder, tenant_name)
    for name in script_names():
        if name == "line/visit_full":
            continue
        header = read_header(load_script(name).text)
        count, *rest = recorder.calls[load_script(name).sha]
        assert count == len(header.keys), name
        sent = len(rest) - count
        assert sent == len(header.arguments) or (sent > len(header.arguments) and header.may_repeat), name


async def test_every_script_works_on_every_server(client: CommandClient, tenant_name: str) -> None:
    await call_each_script(client, tenant_name)


async def test_every_script_works_on_a_cluster(
    cluster_store: CommandClient, cluster: Cluster, tenant_name: str
) -> None:
    await call_each_script(cluster_store, tenant_name)


async def test_a_server_that_forgot_its_scripts_is_no_error(fresh_server: Server, tenant_name: str) -> None:
    client = fresh_server.connect()
    await call_each_script(client, tenant_name)
    await client.script_flush()
    line = LineScripts(client, "gate", tenant_name)
    assert await line.status() is not None
    await client.script_flush()
    assert await line.tick() is not None
    await client.aclose()


async def test_a_full_server_serves_those_whom_it_knows_and_stores_nobody_new(
    fresh_server: Server, tenant_name: str
) -> None:
    client = fresh_server.connect()
    line = LineScripts(client, "gate", tenant_name)
    await line.configure(expected=0, version=1, settings="{}", numbers=LineSettings(quota=1))
    head, outcomes = await decided(line, a_visit(), a_visit())
    first = a_visit(ticketed=True, state=1, id=os.urandom(16), place=outcomes[1].place, end=outcomes[1].end)
    _, outcomes = await decided(line, first)
    await client.config_set("maxmemory", 1)
    known, unconfirmed, let_in_without_it, stranger = (
        first,
        a_visit(ticketed=True, id=os.urandom(16), place=outcomes[0].place + 1, end=head.clock + 20_000),
        a_visit(ticketed=True, state=3, id=os.urandom(16), place=outcomes[0].place + 2, end=head.clock + 20_000),
        a_visit(),
    )
    _, outcomes = await decided(line, known, unconfirmed, let_in_without_it, stranger)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.WAITING, Verdict.FULL, Verdict.FULL, Verdict.FULL]
    assert await line.leave([Departure(first.id)]) is not None
    assert await line.tick() is not None
    with pytest.raises(StoreFull):
        await DirectoryScripts(client, "gate").claim_routes(tenant_name, routes=["a.example.com/"])
    await client.aclose()


async def test_a_replica_refuses_changes_and_answers_reads(pair: Pair, tenant_name: str) -> None:
    primary, replica = pair.primary.connect(), pair.replica.connect()
    await LineScripts(primary, "gate", tenant_name).configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    await primary.wait(1, 2000)
    with pytest.raises(StoreReadOnly):
        await LineScripts(replica, "gate", tenant_name).visit([a_visit()])
    assert await LineScripts(replica, "gate", tenant_name).status() is not None
    await primary.aclose()
    await replica.aclose()


@pytest.mark.parametrize(
    ("count", "blob"),
    [(0, b""), (1, b"x"), (1, b"\x09" + bytes(93)), (129, bytes(129 * 94)), (1, bytes(2) + b"\xff" * 92)],
)
async def test_a_malformed_batch_is_refused_before_anything_is_written(
    client: CommandClient, tenant_name: str, count: int, blob: bytes
) -> None:
    line = LineScripts(client, "gate", tenant_name)
    await line.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    keys = TenantKeys("gate", tenant_name).line()
    source = load_script("line/visit")
    with pytest.raises(Exception, match="INVALID visits"):
        await client.execute_command("EVAL", source.text, len(keys), *keys, "", "", 0, 0, 0, count, blob)
    assert not await client.execute_command("EXISTS", TenantKeys("gate", tenant_name).state)


async def test_wrong_ids_and_routes_are_refused_before_anything_is_written(
    client: CommandClient, tenant_name: str
) -> None:
    line = LineScripts(client, "gate", tenant_name)
    await line.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    for ids in ([], [b"short"], [bytes(16)] * 101):
        with pytest.raises(StoreRefused, match="INVALID ids"):
            await line.revoke(ids)
    with pytest.raises(StoreRefused, match="INVALID routes"):
        await DirectoryScripts(client, "gate").claim_routes(tenant_name, routes=[])
    assert not await client.execute_command("EXISTS", TenantKeys("gate", tenant_name).gone)


async def test_a_route_that_another_tenant_has_is_named_and_nothing_changes(
    client: CommandClient, tenant_name: str
) -> None:
    directory, other = DirectoryScripts(client, "gate"), f"{tenant_name}-other"
    taken, free = f"{tenant_name}.example.com/", f"{tenant_name}.example.org/"
    await directory.claim_routes(tenant_name, routes=[taken])
    assert await directory.claim_routes(other, routes=[free, taken]) == (taken, tenant_name)
    assert other not in await directory.tenant_names()
    await directory.claim_routes(tenant_name, routes=[free])
    assert await directory.claim_routes(other, routes=[taken]) is None


async def test_every_key_is_in_the_data_dictionary(fresh_server: Server, tenant_name: str) -> None:
    client = fresh_server.connect()
    await call_each_script(client, tenant_name)
    line = LineScripts(client, "gate", tenant_name)
    await line.configure(expected=1, version=2, settings="{}", numbers=LineSettings(quota=1, join_limit=5))
    await decided(line, a_visit(first=1, second=2), a_visit(first=3, second=4))
    dictionary = (resources_folder() / "README.md").read_text(encoding="utf-8")
    for key in await client.keys("*"):
        assert isinstance(key, bytes)
        documented = (
            key.decode().replace(f"{tenant_name}-b:access", "gate:access").replace(f"{tenant_name}-b", tenant_name)
        )
        documented = documented.replace(f"{tenant_name}-c", tenant_name)
        documented = re.sub(r":[0-9a-f]{32}:call$", ":id:call", documented)
        documented = documented.replace(f"{{{tenant_name}}}", "{tenant}").replace("{prod", "{stage")
        documented = documented.replace("{streams:", "{stage:")
        documented = re.sub(r":pending\d$", ":pendingN", documented)
        documented = documented.replace(f"lock:{tenant_name}}}", "lock:name}").replace(f":{tenant_name}}}", ":queue}")
        assert f"| `{documented}` |" in dictionary
    directory, queue = DirectoryKeys("gate"), QueueKeys("jobs", "stage", "queue")
    streams = [re.sub(r"\d$", "N", key) for key in StreamKeys("jobs", "stage", "queue").step()]
    of_all = (
        *TenantKeys("gate", "tenant").all(),
        directory.tenants,
        directory.hosts,
        *queue.step(),
        *queue.forget(),
        *streams,
    )
    of_locks = (*LockKeys("jobs", "stage", "name").lock(), locks_key("jobs", "stage"))
    of_locks += CronKeys("jobs", "stage", "queue").cron()
    for documented in (*of_all, queues_key("jobs", "stage"), *of_locks):
        assert f"| `{documented}` |" in dictionary
    await client.aclose()


def resources_folder() -> Any:
    from importlib import resources

    return resources.files("ropeline.lua")


@pytest.mark.requires_system("luacheck")
def test_the_expanded_scripts_are_clean_to_luacheck() -> None:
    for name in script_names():
        checked = subprocess.run(
            [find_program("luacheck"), "-", "--no-color", "--std", "lua51", "--no-max-line-length", "--ignore", "211",
             "--globals", "redis", "cjson", "cmsgpack", "struct", "bit", "KEYS", "ARGV"],
            input=load_script(name).text.partition("\n")[2],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert checked.returncode == 0, f"{name}\n{checked.stdout}"


async def test_a_sequence_number_rises_with_every_change(start_server: StartServer, tenant_name: str) -> None:
    client = start_server().connect()
    line = LineScripts(client, "gate", tenant_name)
    await line.configure(expected=0, version=1, settings="{}", numbers=SETTINGS)
    seen = []
    for _ in range(3):
        head, _ = await decided(line, a_visit())
        ticked, left, revoked = (
            await line.tick(),
            await line.leave([Departure(bytes(16))]),
            await line.revoke([bytes(16)]),
        )
        assert ticked is not None
        assert left is not None
        assert revoked is not None
        seen += [head.sequence, ticked[0].sequence, left[0].sequence, revoked[0].sequence]
    assert seen == list(range(1, 13))
    await client.aclose()
