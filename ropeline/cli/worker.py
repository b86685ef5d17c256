"""`ropeline worker`: runs the jobs of an application in this process, or in several that it looks after."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack, ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.cli.errors import UsageError
from ropeline.cli.worker_command import CONCURRENCY_VARIABLE, QUEUES_VARIABLE
from ropeline.cli.worker_processes import PARENT_VARIABLE, supervise
from ropeline.cli.worker_status import StatusLine
from ropeline.jobs.app import Jobs
from ropeline.jobs.names import check_name
from ropeline.jobs.worker.health import Health, serve_health
from ropeline.jobs.worker.shares import read_queues
from ropeline.jobs.worker.signals import heeded
from ropeline.jobs.worker.worker import LARGEST_CONCURRENCY, Worker, WorkerSettings
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["find_app", "run"]

_log = logging.getLogger("ropeline.worker")

_DEFAULT_CONCURRENCY: Final = 32


def run(options: Namespace) -> int:
    """Work until TERM or INT; 0 then, also when a second one cut it short."""
    settings = _settings(options, os.environ)
    app = find_app(options.app)
    if options.processes > 1:
        if options.health is not None and not 0 < options.health[1] <= 65_536 - options.processes:
            raise UsageError(
                f"--health: got port {options.health[1]}, expected one with {options.processes} free ports from it on"
            )
        return supervise([_child_command(options, number) for number in range(options.processes)])
    with ExitStack() as ending:
        if options.otel:
            from ropeline.cli.otel import traced

            ending.enter_context(traced(app))
        runner = ending.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
        runner.run(_work(app, settings, options))
    return 0


def find_app(name: str) -> Jobs:
    """The Jobs object that "module:name" means, looked for from the current folder on; raises UsageError when it is none."""
    module_name, _, path = name.partition(":")
    if not module_name or not path or module_name.startswith("."):
        raise UsageError(f"MODULE:NAME: got {name!r}, expected one such as shop.jobs:app")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: object = import_module(module_name)
    except ModuleNotFoundError as error:
        # One that the module itself imports is its own affair, and told by its name.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(f"MODULE:NAME: got {name!r}, and there is no module {error.name} here") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise UsageError(f"MODULE:NAME: got {name!r}, and {module_name} has no {path}") from error
    if not isinstance(found, Jobs):
        raise UsageError(
            f"MODULE:NAME: got {name!r}, which is a {type(found).__name__}, expected a ropeline.jobs Jobs object"
        )
    return found


async def _work(app: Jobs, settings: WorkerSettings, options: Namespace) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker.of_app(app, settings, unknown=options.unknown, schedules=not options.no_scheduler)
    async with AsyncExitStack() as ending:
        ending.push_async_callback(app.close)
        # Before anybody is told that this process is there: a signal that came earlier would do what it does by default.
        ending.enter_context(heeded(worker, loop))
        if options.health is not None:
            port = await ending.enter_async_context(serve_health(Health(worker), *options.health))
            _log.info("health, stats and metrics on port %d of %s", port, options.health[0])
        ending.enter_context(_ends_with_parent(worker, loop))
        if sys.stderr.isatty() and PARENT_VARIABLE not in os.environ:
            await ending.enter_async_context(StatusLine(worker).shown())
        queues = ", ".join(f"{name}={weight}" for name, weight in worker.settings.queues.items())
        _log.info(
            "worker %s: %d tasks, %d slots, queues %s",
            worker.id.hex()[:8],
            len(app.tasks),
            settings.concurrency,
            queues,
        )
        await worker.run()
        _log.info("worker %s has ended: %s", worker.id.hex()[:8], _summary(worker))


def _summary(worker: Worker) -> str:
    totals = {outcome: count for outcome, count in worker.metrics.totals().items() if count}
    return ", ".join(f"{count} {outcome}" for outcome, count in totals.items()) or "no job was run"


@contextmanager
def _ends_with_parent(worker: Worker, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Drain when the process that looks after this one is gone: its end of a pipe is closed then, however it went."""
    with ExitStack() as ending:
        if PARENT_VARIABLE in os.environ:
            pipe = int(os.environ[PARENT_VARIABLE])

            def drain() -> None:
                loop.remove_reader(pipe)
                worker.drain()

            loop.add_reader(pipe, drain)
            ending.callback(loop.remove_reader, pipe)
        yield


def _settings(options: Namespace, environ: Mapping[str, str]) -> WorkerSettings:
    queues: dict[str, int] = {}
    if options.queues is not None:
        queues = read_queues(options.queues, separator="=", field="--queues")
    elif environ.get(QUEUES_VARIABLE):
        queues = read_queues(environ[QUEUES_VARIABLE], separator=":", field=QUEUES_VARIABLE)
    for name in queues:
        check_name("queues", name)
    concurrency = options.concurrency
    if concurrency is None:
        concurrency = _read_concurrency(environ.get(CONCURRENCY_VARIABLE) or str(_DEFAULT_CONCURRENCY))
    return WorkerSettings(
        queues=queues,
        strict=options.strict,
        concurrency=concurrency,
        drain_timeout=options.drain_timeout,
        lease=options.lease,
    )


def _read_concurrency(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    if not 1 <= number <= LARGEST_CONCURRENCY:
        raise ConfigurationError(CONCURRENCY_VARIABLE, text, f"a whole number from 1 to {LARGEST_CONCURRENCY:,}")
    return number


def _child_command(options: Namespace, number: int) -> list[str]:
    command = [sys.executable, "-m", "ropeline", "worker", options.app]
    if options.queues is not None:
        command += ["--queues", options.queues]
    if options.strict:
        command.append("--strict")
    if options.concurrency is not None:
        command += ["--concurrency", str(options.concurrency)]
    command += [
        "--drain-timeout",
        str(options.drain_timeout),
        "--lease",
        str(options.lease),
        "--unknown",
        options.unknown,
    ]
    if options.no_scheduler:
        command.append("--no-scheduler")
    if options.otel:
        command.append("--otel")
    if options.health is not None:
        host, port = options.health
        command += ["--health", f"{host}:{port + number}"]
    return command


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where it is installed; a worker needs no extra."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
