"""`ropeline up`: the demo shop behind the gate, its store, its worker, its crowd, its operators' API and its status, all of which end together."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ropeline import __version__
from ropeline.cli.crowd import Crowd
from ropeline.cli.data_folder import DataFolder
from ropeline.cli.demo import DEMO_TENANT, demo_tenant, gate_settings, put_tenant
from ropeline.cli.demo_admin import api_settings, first_key, listen_beside
from ropeline.cli.demo_jobs import DemoWorker, demo_jobs
from ropeline.cli.errors import MissingExtra
from ropeline.cli.listening import EVERY_ADDRESS, ending_signals, in_url, listen, loopback
from ropeline.cli.loopback_http import HttpPool
from ropeline.cli.options import DEFAULT_FOLDER
from ropeline.cli.place import Place, given_url
from ropeline.cli.views import PlainView, is_screen, watch
from ropeline.gate.gate import Gate
from ropeline.gate.hosts import HOST
from ropeline.gate.snapshot import Snapshot, take_snapshot
from ropeline.gate.tasks import end
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.client import connect
from ropeline.lua.errors import ConfigurationError, StoreError
from ropeline.lua.server_report import check_servers, require_noeviction
from ropeline.server import EmbeddedServer

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.cli.admin_server import AdminServer
    from ropeline.cli.shop_server import ShopServer
    from ropeline.gate.settings import GateSettings, TenantSettings
    from ropeline.gate.tenant_store import StoredTenant

__all__ = ["run"]

_log = logging.getLogger("ropeline.up")

_EXTRA: Final = ("uvicorn", "uvloop", "httptools", "starlette", "fastapi", "rich")
_GUARD_SECONDS: Final = 0.25


def run(options: Namespace) -> int:
    """Serve until Ctrl-C or another signal that asks for the end; 0 then."""
    for package in _EXTRA:
        if find_spec(package) is None:
            raise MissingExtra("ropeline up", package, "up")
    import uvloop

    try:
        with ExitStack() as ending:
            ending.enter_context(_interrupted_by_signals())
            wanted = demo_tenant(_hosts(options.host, options.tenant_host), crowd=options.crowd)
            listener = ending.enter_context(listen(options.host, options.port))
            beside = ending.enter_context(listen_beside(listener, options.admin_port))
            folder = DataFolder(options.data)
            place, server = given_url(options), None
            if place is None:
                server = ending.enter_context(_own_server(folder))
                place = Place(server.url, "--data")
            ending.enter_context(folder.announced(place.url))
            settings = gate_settings(place.url, folder)
            is_given = bool(os.environ.get("ROPELINE_METRICS_TOKEN"))
            token_place = "ROPELINE_METRICS_TOKEN" if is_given else str(folder.metrics_token_file)
            demo = _Demo(options, wanted, listener, beside, settings, place, folder, server, token_place)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(demo.serve())
    except KeyboardInterrupt:
        # Before the loop ran, or once more after it. The store is our child and has ended, or ends with us.
        return 0
    print(f"Ended. The demo's data stays in {options.data}.", flush=True)
    return 0


@dataclass(frozen=True, slots=True)
class _Demo:
    """Everything that runs in the event loop.

    `wanted`: the tenant as the command line has it. `beside`: where the operators' API listens. `server`: our own store,
    None when somebody else's is used. `token_place`: where the token for the metrics is.
    """

    options: Namespace
    wanted: TenantSettings
    listener: socket.socket
    beside: socket.socket
    settings: GateSettings
    place: Place
    folder: DataFolder
    server: EmbeddedServer | None
    token_place: str

    async def serve(self) -> None:
        """Run the shop and what belongs to it until a signal asks for the end, or one of them fails."""
        from ropeline.cli.admin_server import AdminServer
        from ropeline.cli.shop_server import ShopServer

        async with AsyncExitStack() as ending:
            # Not the gate's: what a visitor is not made to wait for, an operator may be.
            client = connect(self.place.settings())
            ending.push_async_callback(client.aclose)
            store = TenantStore(client, self.settings.namespace)
            try:
                reports = await check_servers(client)
                require_noeviction(reports)
                tenant = await put_tenant(store, self.wanted, quota=self.options.quota)
                admin = api_settings(self.settings)
                key = await first_key(client, admin, self.folder)
            except StoreError as error:
                raise self.place.explain(error) from error
            gate = Gate(self.settings)
            await gate.start()
            ending.push_async_callback(gate.stop)
            jobs = demo_jobs(self.place.url, self.options.data)
            ending.push_async_callback(jobs.app.close)
            worker = DemoWorker(jobs)
            servers: list[ShopServer | AdminServer] = [ShopServer(gate, jobs), AdminServer(admin)]
            stop = _stop_at_signals(servers, worker)
            working = asyncio.create_task(worker.run())
            serving = [
                asyncio.create_task(server.serve(sockets=[listener]))
                for server, listener in zip(servers, (self.listener, self.beside), strict=True)
            ]
            opening = asyncio.gather(*(server.is_open.wait() for server in servers))
            begun: set[asyncio.Future[Any]] = {*serving, opening}
            await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
            kind = "Valkey" if reports[0].is_valkey else "Redis"
            print("\n".join(self._welcome(tenant, f"{kind} {reports[0].version}", key)), flush=True)
            try:
                await self._accompany(store, worker, [*serving, working], stop)
            finally:
                opening.cancel()
                for server in servers:
                    server.should_exit = True
                worker.drain()
                await asyncio.wait([*serving, working])
            for task in (*serving, working):
                await task

    async def _accompany(
        self, store: TenantStore, worker: DemoWorker, serving: list[asyncio.Task[None]], stop: asyncio.Event
    ) -> None:
        """Show the status, send the crowd and keep the store running, until the end."""
        async with HttpPool(*loopback(self.listener)) as pool:
            crowd = Crowd(self.options.crowd, pool, prefix=self.settings.well_known_prefix, tenant=DEMO_TENANT)
            stopping = asyncio.create_task(stop.wait())
            ours: list[asyncio.Task[None] | asyncio.Task[bool]] = [stopping]
            if not self.options.no_status:
                ours.append(asyncio.create_task(self._show_status(store, worker, crowd)))
            if self.server is not None:
                ours.append(asyncio.create_task(_keep_running(self.server)))
            coming = asyncio.create_task(_send(crowd))
            try:
                done, _ = await asyncio.wait([*serving, *ours], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end([*ours, coming])
                await crowd.go_home()
            for task in done:
                await task

    async def _show_status(self, store: TenantStore, worker: DemoWorker, crowd: Crowd) -> None:
        jobs = "not known yet"

        async def read() -> list[Snapshot]:
            nonlocal jobs
            snapshots = [await take_snapshot(store, DEMO_TENANT)]
            jobs = await worker.summary()
            return snapshots

        def notes() -> list[tuple[str, str]]:
            return [("jobs", jobs), *([("crowd", crowd.summary())] if self.options.crowd else [])]

        if not is_screen():
            await watch(read, PlainView(), notes)
        else:
            from ropeline.cli.screen import Screen

            facts = [("shop", self._url()), ("operators", self._admin_url()), ("Ctrl-C", "ends it")]
            with Screen(facts) as screen:
                await watch(read, screen, notes)

    def _welcome(self, tenant: StoredTenant, store: str, key: str) -> list[str]:
        quota = tenant.settings.quota
        let_in = "One visitor is" if quota == 1 else f"{quota} visitors are"
        place = "" if self.options.data == Path(DEFAULT_FOLDER) else f" --data {shlex.quote(str(self.options.data))}"
        return [
            f"Ropeline {__version__}: the ticket shop is open, behind the gate.",
            "",
            f"  shop    {self._url()}",
            f"  status  {self._url()}{self.settings.well_known_prefix[1:]}status  (of the browser that asks)",
            f"  store   {store} at {self.place.shown}",
            f"  data    {self.options.data}  (tickets/ and outbox/ there have what buyers get)",
            f"  metrics {self._url()}{self.settings.well_known_prefix[1:]}metrics  (with the token in {self.token_place})",
            f"  admin   {self._admin_url()}  (the operators' API)",
            f"  key     {key}  (may do everything there)",
            "",
            f"{let_in} let in at once. To see one wait, open the shop in {quota + 1} browsers: a private window",
            "counts as one, the tabs of one browser do not. Let more in from another terminal:",
            "",
            f"  {_own_name()} tenant set {DEMO_TENANT}{place} total_active_users={quota + 3}",
            "",
            "Ctrl-C ends it.",
        ]

    def _url(self) -> str:
        return f"http://{loopback(self.listener)[2]}/"

    def _admin_url(self) -> str:
        return f"http://{loopback(self.beside)[2]}/"


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Make every signal that asks for the end do what Ctrl-C does, for as long as no event loop looks after them."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_at_signals(servers: Sequence[ShopServer | AdminServer], worker: DemoWorker) -> asyncio.Event:
    """An event that a signal sets; a second one lets nothing finish."""
    stop = asyncio.Event()

    def end() -> None:
        if stop.is_set():
            for server in servers:
                server.force_exit = True
            worker.hurry()
        stop.set()

    for number in ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, end)
    return stop


@contextmanager
def _own_server(folder: DataFolder) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder.path, unix_socket=folder.socket)
    try:
        server.start()
    except ConfigurationError as error:
        if error.field == "folder":
            raise ConfigurationError("--data", error.value, error.expected) from None
        raise
    try:
        yield server
    finally:
        server.stop()


async def _send(crowd: Crowd) -> None:
    try:
        await crowd.run()
    except Exception:  # noqa: BLE001 - the demo goes on without it
        _log.exception("the crowd broke up")


async def _keep_running(server: EmbeddedServer) -> None:
    """Start the store again when it has ended; what it had acknowledged is on disk, and places are in the tickets too."""
    while True:
        await asyncio.sleep(_GUARD_SECONDS)
        if not server.is_running:
            _log.warning("the store has ended and is started again")
            server.stop()
            server.start()


def _hosts(host: str, further: list[str]) -> list[str]:
    """The hosts beside this machine's own names under which the shop is asked for."""
    hosts = [str(HOST.check("--tenant-host", name)) for name in further]
    return hosts if host in EVERY_ADDRESS else [*hosts, str(HOST.check("--host", in_url(host)))]


def _own_name() -> str:
    """How the reader of a message can call this command."""
    called = sys.argv[0]
    if Path(called).name != "ropeline" or shutil.which("ropeline") == str(Path(called).absolute()):
        return "ropeline"
    return called
