"""`ropeline up` serves the demo with everything that belongs to it, keeps its data, and leaves nothing behind."""

import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
from functools import partial
from pathlib import Path
from typing import Self

import httpx
import redis

from ropeline.server_process import start_watchdog
from tests.cli.running import COMMAND, Command, Up, environment, is_alive, run
from tests.cli.test_status import process_reads
from tests.servers import Server, StartServer
from tests.support import wait_until_sync


class Browser:
    """A visitor who keeps cookies."""

    def __init__(self, url: str, cookies: httpx.Cookies | None = None) -> None:
        self._client = httpx.Client(base_url=url, cookies=cookies, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def is_in(self) -> bool:
        """Open the shop, and say whether it is the shop that answers."""
        reply = self._client.get("/", headers={"Accept": "text/html"})
        decision = reply.headers["waiting-room"].partition(";")[0]
        assert (reply.status_code, decision) in [(200, "admitted"), (503, "queued")]
        return bool(decision == "admitted")

    def buy_two(self) -> str:
        """Order two tickets; the path of the order's page."""
        self._client.post("/cart", data={"slug": "paper-lions", "seats": "2"})
        placed = self._client.post("/checkout", data={"name": "Anna Berg", "email": "anna@example.com"})
        assert placed.status_code == 303
        return placed.headers["location"]

    def has_receipt(self, order: str) -> bool:
        return bool(self._client.get(f"{order}/progress").json()["receipt"])

    def status(self) -> dict[str, object]:
        document = self._client.get("/.well-known/waiting-room/status").json()["waitingRoom"]
        assert isinstance(document, dict)
        return document

    def waits_first(self) -> bool:
        status = self.status()
        return (status["state"], status["position"]) == ("waiting", 1)


def test_a_third_browser_waits_until_the_quota_is_raised_and_all_is_there_after_a_restart(short_folder: Path) -> None:
    with (
        Up.running(short_folder, "--quota", "2") as up,
        Browser(up.url) as one,
        Browser(up.url) as two,
        Browser(up.url) as three,
    ):
        assert up.store_url.startswith("unix://")
        store = up.store_pid()
        assert one.is_in()
        assert two.is_in()
        assert not three.is_in()
        wait_until_sync(three.waits_first)
        changed = run(short_folder, "tenant", "set", "demo", "total_active_users=3")
        assert re.search(r"total_active_users +2 +-> +3", changed.out)
        polls = [three.status()["state"] for _ in range(2)]
        assert polls[1] == "admitted"
        assert three.is_in()
        for name in ("secret.key", "admin.key", "store.url"):
            assert stat.S_IMODE((short_folder / ".ropeline" / name).stat().st_mode) == 0o600
        assert up.end(signal.SIGINT) == 0
        assert not is_alive(store)
        assert not (short_folder / ".ropeline" / "store.url").exists()
        cookies = one.cookies
    with Up.running(short_folder) as up, Browser(up.url, cookies) as one, Browser(up.url) as four:
        assert "3 visitors are let in at once." in up.output.read_text(), "what was set meanwhile stays"
        assert one.is_in(), "its visit goes on"
        assert not four.is_in()
        assert up.end(signal.SIGTERM) == 0


def test_the_metrics_are_at_the_printed_address_for_who_has_the_token(short_folder: Path) -> None:
    with Up.running(short_folder, "--no-status") as up, Browser(up.url) as visitor:
        assert visitor.is_in()
        found = re.search(r"metrics (http://\S+)  \(with the token in (\S+)\)", up.output.read_text())
        assert found is not None
        path = short_folder / found[2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert httpx.get(found[1]).status_code == 401
        answer = httpx.get(found[1], headers={"Authorization": f"Bearer {path.read_text().strip()}"})
        assert 'waitingroom_active_users{tenant="demo"} 1\n' in answer.text
        assert up.end(signal.SIGTERM) == 0


def test_what_is_bought_is_made_by_the_worker_and_its_jobs_are_counted(short_folder: Path, command: Command) -> None:
    command.patch.chdir(short_folder)
    with Up.running(short_folder) as up, Browser(up.url) as buyer:
        assert buyer.is_in()
        order = buyer.buy_two()
        wait_until_sync(lambda: buyer.has_receipt(order), timeout=20)
        number = order.rpartition("/")[2]
        data = short_folder / ".ropeline"
        tickets = sorted(path.name for path in (data / "tickets" / number).iterdir())
        assert tickets == ["paper-lions-1.svg", "paper-lions-2.svg"]
        assert "To: Anna Berg <anna@example.com>" in (data / "outbox" / f"{number}.eml").read_text()
        for path in (data / "tickets" / number, data / "outbox"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, "the number of an order is the key to it"
        wait_until_sync(lambda: "jobs: 4 done, 0 waiting" in up.output.read_text(), timeout=20)
        (queue, *_) = json.loads(command("jobs", "stats", "--stage", "demo", "--json").out)["queues"]
        assert queue["queue"] == "orders"
        assert queue["counters"]["completed"] == 2
        assert up.end(signal.SIGTERM) == 0


def test_jobs_that_were_not_done_are_done_after_a_kill_and_a_restart(short_folder: Path, command: Command) -> None:
    command.patch.chdir(short_folder)
    tickets = ("tickets", "--stage", "demo")
    with Up.running(short_folder, "--no-status") as up, Browser(up.url) as buyer:
        assert buyer.is_in()
        first = buyer.buy_two()
        wait_until_sync(lambda: buyer.has_receipt(first), timeout=20)
        assert command("jobs", "pause", *tickets, "--reason", "a test").status == 0
        buyer.buy_two()

        def has_two_pending() -> bool:
            stats = json.loads(command("jobs", "stats", "--stage", "demo", "--queue", "tickets", "--json").out)
            return bool(stats["queues"][0]["pending"] == 2)

        wait_until_sync(has_two_pending, timeout=20)
        # A store that writes everysec keeps what is older than that.
        with redis.Redis.from_url(up.store_url) as client:
            client.execute_command("WAITAOF", 1, 0, 5000)
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
    with Up.running(short_folder, "--no-status") as up:
        assert command("jobs", "resume", *tickets).status == 0
        outbox = short_folder / ".ropeline" / "outbox"
        wait_until_sync(lambda: len(list(outbox.glob("*.eml"))) == 2, timeout=20)
        assert up.end(signal.SIGINT) == 0


def test_nothing_outlives_a_kill_and_the_folder_can_be_used_again(short_folder: Path, command: Command) -> None:
    command.patch.chdir(short_folder)
    with Up.running(short_folder, "--no-status") as up:
        store = up.store_pid()
        second = command("up", "--port", "0")
        assert second.status == 2
        assert second.refusal.startswith("--data: got '.ropeline', expected a folder of its own: process ")
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
        wait_until_sync(lambda: not is_alive(store))
    ended = command("status")
    assert ended.status == 1
    assert "does not answer" in ended.refusal
    assert ended.refusal.endswith("is `ropeline up` still running?")
    with Up.running(short_folder, "--no-status", "--quota", "7") as up:
        assert "7 visitors are let in at once." in up.output.read_text(), "the command line goes before what was set"
        assert command("status").status == 0


def test_a_store_that_ends_is_started_again_with_its_data(short_folder: Path, command: Command) -> None:
    odd = short_folder / "a b%20#?"
    odd.mkdir()
    command.patch.chdir(odd)
    with Up.running(odd) as up, Browser(up.url) as one, Browser(up.url) as two:
        assert "One visitor is let in at once." in up.output.read_text()
        assert up.store_url.startswith("unix://")
        assert one.is_in()
        assert not two.is_in()
        first = up.store_pid()
        os.kill(first, signal.SIGKILL)
        wait_until_sync(lambda: not is_alive(first))
        wait_until_sync(lambda: command("status").status == 0, timeout=20)
        assert up.store_pid() != first
        assert "the store has ended and is started again" in up.output.read_text()
        assert one.is_in()
        with redis.Redis.from_url(up.store_url) as client:
            client.flushall()
        wait_until_sync(lambda: command("status", "demo").status == 0, timeout=20)
        assert one.is_in()
        assert up.end(signal.SIGINT) == 0


def test_a_crowd_and_a_store_of_ones_own_are_looked_after(
    short_folder: Path, on_store: dict[str, str], on_store_command: Command, valkey: Server
) -> None:
    def numbers() -> tuple[int, int]:
        (tenant,) = json.loads(on_store_command("status", "--json").out)["tenants"]
        return tenant["active"], tenant["waiting"]

    key = "a key of at least sixteen bytes"
    options = ["--tenant-host", "Shop.Test", "--tenant-host", "*.shop.test", "--crowd", "30"]
    with Up.running(short_folder, *options, environ={**on_store, "ROPELINE_SECRET_KEYS": key}) as up:
        assert "3 visitors are let in at once." in up.output.read_text(), "a tenth of the crowd"
        assert up.store_url == valkey.url
        kept = sorted(path.name for path in (short_folder / ".ropeline").iterdir())
        assert kept == ["admin.key", "metrics.token", "store.url"]
        wait_until_sync(lambda: numbers() == (3, 27), timeout=30)
        wait_until_sync(lambda: "0 arriving, 27 in line, 3 shopping, 0 gone" in up.output.read_text(), timeout=30)
        for host in ("localhost", "shop.test:80", "a.shop.test"):
            assert httpx.get(up.url, headers={"Host": host}).headers["waiting-room"] == "queued;tenant=demo"
        assert httpx.get(up.url, headers={"Host": "other.test"}).status_code == 421
        assert up.end(signal.SIGINT) == 0
    assert numbers()[1] < 27, "who has left does not stand in line after a restart"
    shown = on_store_command("tenant", "get", "demo").out
    assert "cookie_attributes.secure=never" in shown, "or browsers would drop the cookie over plain http"


def test_the_operators_api_runs_beside_the_shop_under_a_key_that_is_printed(
    short_folder: Path, command: Command
) -> None:
    command.patch.chdir(short_folder)
    with Up.running(short_folder, "--no-status") as up:
        url, key = up.admin_url, up.admin_key
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        me = httpx.get(f"{url}/v1/me", headers={"Authorization": f"Bearer {key}"})
        assert me.json()["role"] == "superuser"
        assert httpx.get(f"{url}/v1/me").status_code == 401
        assert up.end(signal.SIGINT) == 0
    with Up.running(short_folder, "--no-status") as up:
        assert up.admin_key == key, "it is the same as long as it is in force"
        assert command("admin", "key", "revoke", key.split("_")[1]).status == 0
        assert up.end(signal.SIGINT) == 0
    with Up.running(short_folder, "--no-status") as up:
        assert up.admin_key != key
        assert (
            httpx.get(f"{up.admin_url}/v1/me", headers={"Authorization": f"Bearer {up.admin_key}"}).status_code == 200
        )
        taken = command("up", "--port", "0", "--data", "other", "--admin-port", up.admin_url.rpartition(":")[2])
        assert taken.status == 2
        assert taken.refusal.startswith("--admin-port: got ")


def test_a_store_that_evicts_is_refused(command: Command, start_server: StartServer) -> None:
    server = start_server("--maxmemory-policy", "allkeys-lru")
    ended = command("up", "--port", "0", "--redis-url", server.url)
    assert ended.status == 2
    assert ended.refusal.startswith("maxmemory-policy: got 'allkeys-lru', expected noeviction")
    assert server.call("DBSIZE") == 0


def test_a_terminal_shows_one_screen_until_it_is_closed(tmp_path: Path) -> None:
    """In a folder whose path is too long for a Unix socket."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    ours, theirs = pty.openpty()
    environ = environment({"TERM": "xterm", "COLUMNS": "100", "LINES": "50"})
    seen = bytearray()

    def shows(text: str) -> bool:
        # A screen that stands still is to fail the test and not to hold it up.
        if select.select([ours], [], [], 1.0)[0]:
            seen.extend(os.read(ours, 65536))
        return text.encode() in seen

    up = [COMMAND, "up", "--port", "0", "--crowd", "3"]
    with subprocess.Popen(up, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        watchdog = start_watchdog(process.pid)
        os.close(theirs)
        for text in ("on the site", "1 shopping", "0 done, 0 waiting"):
            wait_until_sync(partial(shows, text), timeout=60, message=f"{text!r} on the screen")
        assert "Acme Tickets" in seen.decode()
        assert (folder / ".ropeline" / "store.url").read_text().startswith("redis://127.0.0.1:")
        process.send_signal(signal.SIGHUP)
        while process_reads(ours):
            pass
        watchdog.kill()
        watchdog.communicate()
        assert process.wait(20) == 0
    os.close(ours)
