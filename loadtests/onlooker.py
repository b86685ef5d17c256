"""Looks on while Locust's visitors run: samples the store, ends the run at the first breach, and sums up.

Every scenario shares the one `ONLOOKER`: the invariants hold among the visitors of one Locust process.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import redis
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner
from locust.stats import RequestStats
from redis.backoff import NoBackoff
from redis.retry import Retry

from loadtests.campaign.blocking import result_of
from loadtests.invariants import Holds, VisitorWatch, Watch
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.errors import RopelineError, StoreError

__all__ = ["ONLOOKER", "Onlooker"]

_SAMPLE_EVERY: Final = 0.05
_DATA_FOLDER: Final = ".ropeline"
_URL_FILE: Final = "store.url"


class _Client:
    """redis-py's blocking client under the name that the scripts are called by: the greenlet waits, nobody else does."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=2, socket_connect_timeout=2
        )

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply, with bytes left as bytes."""
        return self._client.execute_command(*args, **options)  # type: ignore[no-untyped-call]


class Onlooker:
    """What one Locust process knows about the line that it puts under load."""

    def __init__(self) -> None:
        self.ends_with_the_last = False
        """End the run when as many have gone as were to come, before its time is over."""
        self.finished = 0
        """Visitors who have come, been on the site and gone."""
        self._line: _Line | None = None

    @property
    def tenant(self) -> str:
        """Name of the tenant whose site is put under load."""
        return self._begun.tenant

    def visitor(self) -> VisitorWatch:
        """Watch a visitor who arrives now."""
        return self._begun.watch.visitor(time.monotonic())

    def begin(self, environment: Environment) -> None:
        """Find the store and the tenant, and look on until the run ends; raises RopelineError when that cannot be."""
        options, runner = environment.parsed_options, environment.runner
        if options is None or not isinstance(runner, LocalRunner):
            raise RopelineError(
                "one Locust process, please: what is checked holds among visitors who know of each other"
            )
        store = TenantStore(_Client(_store_url(options.store, Path(options.data))), options.namespace)
        self._line = _Line(store, options.tenant, environment.stats)
        runner.greenlet.spawn(self._look_on, runner, options.num_users if self.ends_with_the_last else None)

    def verdict(self) -> str:
        """Why the run has failed; empty when it has not."""
        watch, failures = self._begun.watch, self._begun.stats.total.num_failures
        if watch.breach_count:
            return f"promises were broken {watch.breach_count} times"
        if failures:
            return f"{failures} requests failed"
        if not (watch.samples and watch.comparisons and watch.waits):
            return "too little happened to prove anything: nobody waited and was let in"
        return ""

    def report(self) -> list[str]:
        """What the run has shown, in lines."""
        watch, total, verdict = self._begun.watch, self._begun.stats.total, self.verdict()
        times = [total.get_response_time_percentile(part) for part in (0.5, 0.95)]
        return [
            f"let in     {watch.let_in}: {len(watch.waits)} after waiting, {watch.let_in_at_once} at once",
            f"gone       {self.finished}",
            f"wait       {_percentiles(watch.waits)}",
            f"admitted   {watch.admissions_per_second:.1f}/s, at most {watch.most_inside} seen on the site at once",
            f"requests   {total.num_requests}, {total.total_rps:.0f}/s, p50 {times[0]} ms, p95 {times[1]} ms",
            f"failed     {total.num_failures}",
            f"checked    {watch.samples} samples of the store, {watch.comparisons} answers in line, {watch.stays} on site",
            *(f"BROKEN     {breach.promise}: {breach.text}" for breach in watch.breaches),
            f"FAILED     {verdict}" if verdict else "passed     every promise was kept",
        ]

    @property
    def _begun(self) -> _Line:
        if self._line is None:
            raise RuntimeError("the run has not begun")
        return self._line

    def _look_on(self, runner: LocalRunner, coming: int | None) -> None:
        line = self._begun
        while not line.watch.breach_count and self.finished != coming:
            line.sample()
            time.sleep(_SAMPLE_EVERY)
        runner.quit()


class _Line:
    """The line in the store, and what has been seen of it; raises RopelineError when it cannot be found."""

    def __init__(self, store: TenantStore, tenant: str, stats: RequestStats) -> None:
        self.tenant = tenant
        self.stats = stats
        self._store = store
        self._quotas: dict[int, int] = {}
        self._epoch = 0
        self.watch = Watch(self._read_settings())

    def sample(self) -> None:
        """Compare how many are in with the quota."""
        try:
            self._sample()
        except StoreError:
            self.watch.interrupted()

    def _sample(self) -> None:
        watch = self.watch
        inside = watch.count_inside(time.monotonic())
        head = result_of(self._store.status(self.tenant)).head
        if self._epoch not in (0, head.epoch):
            watch.interrupted()
        self._epoch = head.epoch
        if head.version not in self._quotas:
            watch.holds = self._read_settings()
        quota = self._quotas.get(head.version)
        # None: the settings have changed once more since the sample was taken; the next one has its quota.
        if quota is not None:
            watch.sample(active=head.active, quota=quota, version=head.version, inside=inside)

    def _read_settings(self) -> Holds:
        stored = result_of(self._store.read(self.tenant))
        self._quotas[stored.version] = stored.settings.quota
        return Holds.of(stored.settings)


ONLOOKER: Final = Onlooker()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Ropeline")
    group.add_argument(
        "--store", metavar="URL", default=None, help="the store (else ROPELINE_REDIS_URL, REDIS_URL, --data)"
    )
    group.add_argument("--data", metavar="DIR", default=_DATA_FOLDER, help="folder of a running `ropeline up`")
    group.add_argument("--tenant", metavar="NAME", default="demo", help="the tenant whose site is put under load")
    group.add_argument("--namespace", default="gate", help="first part of the store's keys")
    group.add_argument(
        "--stay", type=float, default=4.0, metavar="SECONDS", help="how long a visitor stays, on average"
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Environment, **_: object) -> None:
    try:
        ONLOOKER.begin(environment)
    except RopelineError as error:
        raise SystemExit(f"error: {error}") from None


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _judge(environment: Environment, **_: object) -> None:
    environment.process_exit_code = 1 if ONLOOKER.verdict() else 0


@events.quit.add_listener  # type: ignore[untyped-decorator]
def _sum_up(**_: object) -> None:
    print("\n".join(ONLOOKER.report()), flush=True)


def _store_url(given: str | None, folder: Path) -> str:
    url = given or os.environ.get("ROPELINE_REDIS_URL") or os.environ.get("REDIS_URL")
    if url:
        return url
    file = folder / _URL_FILE
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise RopelineError(
            f"no store: give --store, set ROPELINE_REDIS_URL, or start `ropeline up` ({file} is not there)"
        ) from None


def _percentiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few to tell"
    cuts = quantiles(seconds, n=20)
    return f"p50 {cuts[9]:.1f} s, p95 {cuts[18]:.1f} s, longest {max(seconds):.1f} s"
