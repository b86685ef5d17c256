"""The shipped configuration and users: a server takes them, the gate works under them, and nothing else does."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from redis.exceptions import AuthenticationError, ResponseError

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.operators import KeyDraft
from ropeline.gate.gate import Gate
from ropeline.gate.metrics_lambda import MetricsHandler
from ropeline.gate.settings import GateSettings, TenantSettings
from ropeline.jobs import JobContext, Jobs, JobState
from ropeline.jobs.brokers.redis import RedisBroker
from ropeline.jobs.fsck import check_queue
from ropeline.jobs.worker import Worker, WorkerSettings
from ropeline.lua.audit import Author
from ropeline.lua.client import connect
from ropeline.lua.errors import StoreDenied, store_error
from ropeline.lua.keys import AccessKeys, DirectoryKeys, TenantKeys
from ropeline.lua.loader import load_script, script_names
from ropeline.lua.server_report import check_servers, require_noeviction
from ropeline.lua.visits import Departure, Visit
from tests.gate.scraping import parse
from tests.servers import Server, StartServer, is_formed, patient
from tests.support import wait_until
from tests.system import find_program

REPOSITORY = Path(__file__).parents[2]
REDIS_FILES = REPOSITORY / "infra" / "redis"
PASSWORD = "a-password-of-the-operator"
TENANT = TenantSettings(name="acme", host="shop.example.com", total_active_users=10)

# What a gate sends from Python only while slots move from one cluster node to another.
WHILE_SLOTS_MOVE = {"asking"}


def shipped_users() -> dict[str, list[str]]:
    lines = (REDIS_FILES / "users.acl").read_text().splitlines()
    return {name: rules for _, name, *rules in map(str.split, lines)}


def granted(user: str = "ropeline") -> set[str]:
    return {rule[1:] for rule in shipped_users()[user] if rule.startswith("+")}


def called_by_scripts(*folders: str) -> set[str]:
    """The commands in the scripts of these folders."""
    sources = [load_script(name).text for name in script_names() if name.partition("/")[0] in folders]
    assert sources
    assert not [source for source in sources if re.search(r"redis\.p?call\s*\((?!\s*')", source)], "a name is computed"
    return {name.lower() for source in sources for name in re.findall(r"redis\.p?call\(\s*'(\w+)'", source)}


def users_file(folder: Path) -> Path:
    """The shipped file with a password for each user, as an operator would complete it."""
    path = folder / "users.acl"
    text = (REDIS_FILES / "users.acl").read_text()
    path.write_text(text.replace(" resetpass ", f" resetpass >{PASSWORD} "))
    return path


@pytest.fixture(params=["valkey", "redis7"])
def guarded(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Server:
    binary = find_program("redis-server") if request.param == "redis7" else None
    return guarded_server(start_server, tmp_path, binary=binary)


def guarded_server(start: StartServer, folder: Path, *, binary: str | None = None, in_cluster: bool = False) -> Server:
    users = str(users_file(folder))
    return start("--aclfile", users, binary=binary, user="operator", password=PASSWORD, in_cluster=in_cluster)


def url_of_gate(server: Server, scheme: str = "redis") -> str:
    return f"{scheme}://ropeline:{PASSWORD}@127.0.0.1:{server.port}"


async def work(url: str) -> None:
    """Everything that a gate process asks of the store."""
    gate = Gate(GateSettings(redis_url=url, secret_keys=("a-key-of-sixteen-bytes",)), tenants=[TENANT])
    client = connect(patient(url))
    try:
        await gate.start()
        line = gate.store.scripts("acme")
        answered = await line.visit([Visit(fresh=bytes([number]) * 16) for number in range(1, 20)])
        assert isinstance(answered, tuple)
        for name in ("tick", "status", "flush"):
            assert await getattr(line, name)() is not None
        assert await line.leave([Departure(bytes([1]) * 16)]) is not None
        assert await line.revoke([bytes([2]) * 16]) is not None
        assert await gate.store.names() == ["acme"]
        await client.execute_command("PING")
        await wait_until(lambda: client.execute_command("PUBLISH", "gate:changes", "acme routes"), timeout=5)
    finally:
        await gate.stop()
        await client.aclose()


def commands_used(server: Server) -> set[str]:
    stats = server.call("INFO", "commandstats")
    assert isinstance(stats, dict)
    names = {name.removeprefix("cmdstat_") for name, numbers in stats.items() if numbers["calls"] > 0}
    return names - {"auth", "config|resetstat"}  # the first needs no right, the second is the test's own


async def test_the_metrics_user_may_do_exactly_what_a_scrape_does(start_server: StartServer, tmp_path: Path) -> None:
    server = guarded_server(start_server, tmp_path)
    await work(url_of_gate(server))
    # A server that has lost its scripts is sent their text, and knows them the next time.
    server.call("SCRIPT", "FLUSH")
    server.call("CONFIG", "RESETSTAT")
    url = f"redis://ropeline-metrics:{PASSWORD}@127.0.0.1:{server.port}"
    environ = {"ROPELINE_REDIS_URL": url, "ROPELINE_METRICS_TOKEN": PASSWORD, "ROPELINE_DEADLINE_MS": "10000"}
    for _ in range(2):
        handler = MetricsHandler(environ)
        answer = await handler.answer({"headers": {"authorization": f"Bearer {PASSWORD}"}})
        assert parse(answer["body"])['waitingroom_active_users_limit{tenant="acme"}'] == 10
    used = commands_used(server)
    assert used == granted("ropeline-metrics") - {"command", "cluster|slots", "asking"}
    writing = {"hset", "zadd", "xadd", "publish", "unlink", "zrem", "del", "set"}
    assert granted("ropeline-metrics") & writing == set()


async def test_the_gates_user_may_do_exactly_what_the_gate_does(start_server: StartServer, tmp_path: Path) -> None:
    server = guarded_server(start_server, tmp_path)
    server.call("CONFIG", "RESETSTAT")
    await work(url_of_gate(server))
    used = commands_used(server)
    (tmp_path / "cluster").mkdir()
    node = guarded_server(start_server, tmp_path / "cluster", in_cluster=True)
    node.call("CLUSTER ADDSLOTSRANGE", 0, 16383)
    await wait_until(lambda: is_formed(node, 1))
    node.call("CONFIG", "RESETSTAT")
    await work(url_of_gate(node, "redis+cluster"))
    used |= commands_used(node)
    assert granted() == called_by_scripts("line", "directory") | used | WHILE_SLOTS_MOVE


async def work_as_operator(url: str) -> None:
    """Everything that the operators' API and the command ask of the store."""
    app = create_app(AdminSettings(redis_url=url, secret_keys=("a-key-of-sixteen-bytes",), admin_deadline_ms=10_000))
    context = app.state.context
    key, _ = await context.keys.create(KeyDraft(name="anna", role="superuser"), Author("test", "create_key"))
    transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {key}", "If-Match": "*"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        acme: dict[str, object] = {"name": "acme", "host": "acme.test", "total_active_users": 10}
        for number in range(2):
            once = {"Idempotency-Key": f"make-{number // 2}"}
            assert (await client.post("/v1/tenants", json=acme, headers=once)).status_code == 201
        assert await context.tenants.revoke("acme", [bytes([1]) * 16]) == 0
        assert (await client.patch("/v1/tenants/acme", json={"total_active_users": 12})).status_code == 200
        assert (await client.post("/v1/tenants/acme/flush", json={"confirm": "acme"})).status_code == 200
        for path in ("/readyz", "/v1/status", "/v1/keys", "/v1/audit", "/v1/tenants/acme/audit", "/v1/export"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/v1/requests/test", json={"url": "http://acme.test/"})).status_code == 200
        assert (await client.delete("/v1/tenants/acme?confirm=acme")).status_code == 204
        assert (await client.delete(f"/v1/keys/{key.split('_')[1]}")).status_code == 204
    await context.client.aclose()


async def test_the_operators_user_may_do_exactly_what_the_api_does(start_server: StartServer, tmp_path: Path) -> None:
    server = guarded_server(start_server, tmp_path)
    server.call("CONFIG", "RESETSTAT")
    await work_as_operator(url_of_gate(server).replace("ropeline:", "ropeline-admin:"))
    of_a_cluster = {"command", "cluster|slots"} | WHILE_SLOTS_MOVE
    scripts = called_by_scripts("tenant", "access", "directory")
    # Those of a line for the status and to revoke; granted whole, as to a gate.
    scripts |= called_by_scripts("line")
    assert granted("ropeline-admin") == scripts | commands_used(server) | of_a_cluster | {"eval"}


async def test_a_gate_may_not_touch_the_keys_of_operators(guarded: Server) -> None:
    client = connect(patient(url_of_gate(guarded)))
    with pytest.raises(ResponseError):
        await client.execute_command("HGET", AccessKeys("gate").keys, "a")
    await client.aclose()


async def work_on_jobs(url: str) -> None:
    """Everything that producers, workers and operators ask of the store."""
    app = Jobs(url)
    done: list[int] = []

    @app.task
    async def draw(job: JobContext, number: int) -> None:
        async with job.lock("event-7", wait=5), app.once("draw", str(number)) as is_first:
            done.append(number if is_first else -1)

    app.schedule("nightly", "0 3 * * *", draw.build(1))
    async with app:
        worker = Worker.of_app(app, WorkerSettings(concurrency=4))
        running = asyncio.create_task(worker.run())
        await app.enqueue_many(draw.build(number) for number in range(3))
        await wait_until(lambda: len(done) == 3)
        worker.drain()
        await running
        late = await draw.using(run_after=60).enqueue(7)
        await late.cancel()
        broker = app.broker()
        assert isinstance(broker, RedisBroker)
        for state in JobState:
            await broker.jobs_in("default", state)
        await broker.requeue("default", [bytes.fromhex(late.id)])
        await broker.pause("default", reason="a look")
        await broker.resume("default")
        await broker.purge("default", JobState.DEAD)
        await broker.unpark("default", b"a:task")
        await broker.limit_keys("default")
        assert await check_queue(broker, "default", repair=True) == []
        await app.locks.held()
        assert list((await app.cron_store().read("default")).ticks) == ["nightly"]


async def test_the_jobs_user_may_do_exactly_what_the_engine_does(start_server: StartServer, tmp_path: Path) -> None:
    server = guarded_server(start_server, tmp_path)
    server.call("CONFIG", "RESETSTAT")
    await work_on_jobs(url_of_gate(server).replace("ropeline:", "ropeline-jobs:"))
    used = commands_used(server)
    of_a_cluster = {"command", "cluster|slots"} | WHILE_SLOTS_MOVE
    scripts = called_by_scripts("queue", "cron", "lock", "locks")
    assert granted("ropeline-jobs") == scripts | used | of_a_cluster | {"eval", "time", "ping"}


def test_what_streams_need_beside_it_is_what_the_readme_says() -> None:
    said = set(re.findall(r"\+(x[a-z|]+)", (REDIS_FILES / "README.md").read_text(encoding="utf-8")))
    needed = called_by_scripts("streams") - granted("ropeline-jobs")
    assert {command.partition("|")[0] for command in said} == needed
    assert said - needed == {"xgroup|create", "xinfo|groups"}


async def test_the_gate_works_as_its_user(guarded: Server) -> None:
    await work(url_of_gate(guarded))
    tenant = TenantKeys("gate", "acme")
    assert guarded.call("EXISTS", tenant.state, tenant.config) == 2
    assert guarded.call("EXISTS", DirectoryKeys("gate").hosts) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
        ("CONFIG", "GET", "requirepass"),
        ("ACL", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("SCRIPT", "LOAD", "return 1"),
        ("SHUTDOWN",),
        ("CLIENT", "KILL", "ID", "1"),
        ("MONITOR",),
        ("SELECT", "1"),
        ("DEL", "gate:{acme}:state"),
        ("GET", "gate:{acme}:state"),
        ("HGET", "other:{acme}:state", "field"),
        ("HKEYS", "session-of-another-application"),
        ("PUBLISH", "news-of-another-application", "hello"),
        ("SUBSCRIBE", "news-of-another-application"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
        ("EVAL", "return redis.call('HGET', KEYS[1], 'field')", "1", "other:{acme}:state"),
        ("EVAL", "return redis.call('GET', KEYS[1])", "1", "gate:{acme}:state"),
    ],
    ids=lambda command: " ".join(command)[:40],
)
async def test_the_gates_user_may_do_nothing_else(guarded: Server, command: tuple[str, ...]) -> None:
    client = connect(patient(url_of_gate(guarded)))
    try:
        with pytest.raises(ResponseError) as refused:
            await client.execute_command(*command)
        assert isinstance(store_error(refused.value), StoreDenied), str(refused.value)
    finally:
        await client.aclose()


@pytest.mark.parametrize("credentials", ["", "default:x@", "ropeline:x@", f"default:{PASSWORD}@", "operator:x@"])
async def test_nobody_comes_in_without_a_password(guarded: Server, credentials: str) -> None:
    client = connect(patient(f"redis://{credentials}127.0.0.1:{guarded.port}"))
    with pytest.raises(AuthenticationError):
        await client.ping()
    await client.aclose()


def test_the_file_as_shipped_gives_nobody_a_password() -> None:
    assert list(shipped_users()) == [
        "default",
        "operator",
        "ropeline",
        "ropeline-admin",
        "ropeline-metrics",
        "ropeline-jobs",
    ]
    for rules in shipped_users().values():
        assert not any(rule.startswith((">", "#", "nopass")) for rule in rules)
        assert "off" in rules or "resetpass" in rules


@pytest.mark.parametrize("program", [None, "redis-server"])
async def test_a_server_takes_the_shipped_settings(start_server: StartServer, program: str | None) -> None:
    config = (REDIS_FILES / "valkey.conf").read_text()
    server = start_server(binary=find_program(program) if program else None, config=config)
    client = server.connect()
    (report,) = await check_servers(client)
    await client.aclose()
    require_noeviction([report])
    assert (report.append_only, report.append_fsync, report.snapshots) == (True, "everysec", "")


@pytest.mark.parametrize("program", [None, "redis-server"])
def test_what_the_shipped_settings_suggest_can_be_switched_on(
    start_server: StartServer, tmp_path: Path, program: str | None
) -> None:
    config = (REDIS_FILES / "valkey.conf").read_text()
    users = users_file(tmp_path)
    switched_on = re.sub(r"^# (?=(?:maxmemory|min-replicas|aclfile)[a-z-]* \S+$)", "", config, flags=re.MULTILINE)
    switched_on = switched_on.replace("/etc/valkey/users.acl", str(users))
    assert switched_on.count("\nmin-replicas") == 2
    assert f"\naclfile {users}" in switched_on
    assert "\nmaxmemory 1gb" in switched_on
    binary = find_program(program) if program else None
    server = start_server(binary=binary, config=switched_on, user="operator", password=PASSWORD)
    assert server.call("ACL", "WHOAMI") == b"operator"
