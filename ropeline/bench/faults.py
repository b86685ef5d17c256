"""`ropeline faults gate`: what the gate answers while its store fails, how fast, and who has lost a place by it."""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from signal import SIGCONT, SIGSTOP
from typing import Any, Final, TypeAlias

from ropeline.bench.fault_proxy import Fault as Network
from ropeline.bench.launch import Launch, Store, Visitor, launch, wait_for

__all__ = ["SIZES", "inject_faults", "table"]

SIZES: Final = {"small": (10, 100), "large": (2_000, 5_000)}
"""Visitors in line, and answers that are timed after the first ones."""

_FIRST_LIMIT_MS: Final = 300.0
_LATER_LIMIT_MS: Final = 5.0
_AT_ONCE: Final = 32
_DEADLINE_SECONDS: Final = 0.25

_AWAY: Final = {
    "admitted": "failing-open",
    "lucky": "failing-open",
    "newcomer": "unavailable",
    "waiting": "unavailable",
}
_FULL: Final = {"admitted": "admitted", "lucky": "failing-open", "newcomer": "unavailable", "waiting": "queued"}
_SHUT: Final = {"admitted": "failing-open", "newcomer": "unavailable", "waiting": "unavailable"}

_Failing: TypeAlias = "Callable[[Store], AbstractAsyncContextManager[None]]"


@dataclass(frozen=True)
class _Fault:
    """One way to fail. `verdicts`: what the policy says to whom; `lucky`: the first newcomer, whom the emergency rate lets in."""

    failing: _Failing
    verdicts: Mapping[str, str] = field(default_factory=lambda: _AWAY)


@dataclass
class _Answers:
    """What was answered to whom while the store failed, and in how many milliseconds."""

    first_ms: float = 0.0
    later_ms: list[float] = field(default_factory=list)
    preempted: int = 0
    told: dict[str, set[str]] = field(default_factory=dict)


# --- the faults -----------------------------------------------------------------------------------------------------


def _network(fault: Network) -> _Failing:
    @asynccontextmanager
    async def failing(store: Store) -> AsyncIterator[None]:
        await store.proxy.set(fault)
        yield
        await store.proxy.set(Network.NONE)
        store.proxy.cut()

    return failing


@asynccontextmanager
async def _killed(store: Store) -> AsyncIterator[None]:
    store.process.kill()
    yield
    store.process.start()


@asynccontextmanager
async def _paused(store: Store) -> AsyncIterator[None]:
    store.process.send_signal(SIGSTOP)
    try:
        yield
    finally:
        store.process.send_signal(SIGCONT)


@asynccontextmanager
async def _read_only(store: Store) -> AsyncIterator[None]:
    store.command("REPLICAOF", "127.0.0.1", 1)
    yield
    store.command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def _full(store: Store) -> AsyncIterator[None]:
    store.command("CONFIG", "SET", "maxmemory", 1)
    yield
    store.command("CONFIG", "SET", "maxmemory", 0)


@asynccontextmanager
async def _loading(store: Store) -> AsyncIterator[None]:
    """Its own data is read again, slowly: it answers LOADING meanwhile."""
    store.command("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
    # It looks at its connections after each so many bytes, so there has to be something to load.
    store.command("DEBUG", "POPULATE", 1_000, "ballast", 1024)
    store.command("CONFIG", "SET", "key-load-delay", 30_000)
    reloading = asyncio.create_task(asyncio.to_thread(store.command, "DEBUG", "RELOAD"))

    await wait_for("the server loads its data", lambda: store.refuses_with("LOADING"))
    yield
    store.command("CONFIG", "SET", "key-load-delay", 0)
    await reloading


@asynccontextmanager
async def _disk_refuses(store: Store) -> AsyncIterator[None]:
    gone = store.folder / "gone"
    gone.mkdir()
    store.command("CONFIG", "SET", "dir", str(gone))
    gone.rmdir()
    store.command("CONFIG", "SET", "save", "3600 1000000")
    store.command("BGSAVE")

    await wait_for("the server cannot save", lambda: store.refuses_with("MISCONF"))
    yield
    store.command("CONFIG", "SET", "save", "")
    store.command("CONFIG", "SET", "dir", str(store.folder))


@asynccontextmanager
async def _denied(store: Store) -> AsyncIterator[None]:
    store.command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    yield
    store.command("ACL", "SETUSER", "default", "+@all")


_FAULTS: Final = {
    "gone": _Fault(_network(Network.REFUSE)),
    "reset": _Fault(_network(Network.RESET)),
    "silent": _Fault(_network(Network.BLACKHOLE)),
    "delayed by 1 s": _Fault(_network(Network.DELAY)),
    "paused": _Fault(_paused),
    "killed, back empty": _Fault(_killed),
    "read-only": _Fault(_read_only),
    "disk refuses": _Fault(_disk_refuses),
    "loading": _Fault(_loading),
    "full": _Fault(_full, _FULL),
    "right taken away": _Fault(_denied, _SHUT),
}


# --- what is measured -----------------------------------------------------------------------------------------------


async def inject_faults(size: str, told: Callable[[str], None]) -> dict[str, Any]:
    """Every fault, each on a server of its own; `ok` is False when one answer came late or was not the policy's, or a place was lost."""
    waiting, answers = SIZES[size]
    figures: dict[str, Any] = {}
    for name, fault in _FAULTS.items():
        told(name)
        async with launch(waiting) as scene:
            figures[name] = await _inject(scene, fault, answers)
    return {"size": size, "ok": all(each["ok"] for each in figures.values()), "faults": figures}


async def _inject(scene: Launch, fault: _Fault, count: int) -> dict[str, Any]:
    before = await _positions(scene)
    healthy, answers = _Answers(), _Answers()
    await _later_answers(scene, healthy, None, count)
    async with fault.failing(scene.store):
        with scene.deadline(_DEADLINE_SECONDS):
            lucky = await _first_answers(scene, answers)
            await _later_answers(scene, answers, lucky, count)
    # A machine that is busy with something else makes a healthy answer late too, and no fault is to blame for that.
    noise = max(healthy.later_ms)
    slack = noise if noise > _LATER_LIMIT_MS else 0.0
    by_policy = answers.told == {who: {verdict} for who, verdict in fault.verdicts.items()}
    lost = await _lost(scene, before, lucky)
    in_time = answers.first_ms <= _FIRST_LIMIT_MS + slack and max(answers.later_ms) <= max(_LATER_LIMIT_MS, slack)
    return {
        "ok": by_policy and in_time and not lost,
        "first_ms": round(answers.first_ms, 1),
        "later_ms": _spread(answers.later_ms),
        "later_preempted": answers.preempted,
        "healthy_ms": _spread(healthy.later_ms),
        "by_policy": by_policy,
        "verdicts": {who: sorted(verdicts) for who, verdicts in sorted(answers.told.items())},
        "places_lost": lost,
    }


async def _first_answers(scene: Launch, answers: _Answers) -> Visitor | None:
    """Many newcomers at once meet the fault; returns the one whom the emergency rate lets in."""
    newcomers = [scene.newcomer() for _ in range(_AT_ONCE)]
    started = time.perf_counter()
    verdicts = await asyncio.gather(*(visitor.ask() for visitor in newcomers))
    answers.first_ms = (time.perf_counter() - started) * 1000
    lucky = None
    for visitor, verdict in zip(newcomers, verdicts, strict=True):
        if verdict == "failing-open" and lucky is None:
            lucky = visitor
        else:
            answers.told.setdefault("newcomer", set()).add(verdict)
    return lucky


async def _later_answers(scene: Launch, answers: _Answers, lucky: Visitor | None, count: int) -> None:
    """Everybody asks in turn, one after another, so that each answer has the process for itself."""
    gc.collect()
    for turn in range(count):
        who, visitor = "waiting", scene.waiting[turn % len(scene.waiting)]
        if turn % 4 == 1:
            who, visitor = "admitted", scene.admitted
        elif turn % 4 == 2:
            who, visitor = "newcomer", scene.newcomer()
        elif turn % 4 == 3 and lucky is not None:
            who, visitor = "lucky", lucky
        switches = _switches()
        started = time.perf_counter()
        verdict = await visitor.ask()
        taken = (time.perf_counter() - started) * 1000
        forced, chosen = (now - then for now, then in zip(_switches(), switches, strict=True))
        answers.told.setdefault(who, set()).add(verdict)
        if taken > _LATER_LIMIT_MS and forced and not chosen:
            # The process never waited for anything: somebody else had the processor.
            answers.preempted += 1
        else:
            answers.later_ms.append(taken)
        if turn % 16 == 0:
            # What goes on in the background, probes for one, has its turns in between.
            await asyncio.sleep(0.001)


def _spread(milliseconds: list[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {"p50": round(hundredths[49], 3), "p99": round(hundredths[98], 3), "max": round(max(milliseconds), 3)}


def _switches() -> tuple[int, int]:
    """How often the processor was taken from this process, and how often it gave it up to wait."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw, usage.ru_nvcsw


async def _lost(scene: Launch, before: list[int | None], lucky: Visitor | None) -> int:
    """How many are not where they were once the store is back: the line in its order, the visit, and who was let in meanwhile."""
    everybody = [scene.admitted, *scene.waiting, *([] if lucky is None else [lucky])]
    states: list[tuple[str, int | None]] = []

    async def all_are_told() -> bool:
        """Whether everybody is told where they are: by the store, and once it has gathered them again."""
        verdicts = await asyncio.gather(*(visitor.ask() for visitor in everybody))
        states[:] = [(verdict, visitor.position) for verdict, visitor in zip(verdicts, everybody, strict=True)]
        return all(verdict == "admitted" or position is not None for verdict, position in states)

    await wait_for("everybody is told the place again", all_are_told)
    expected = [("admitted", None), *(("queued", position) for position in before)]
    if lucky is not None:
        expected.append(("queued", len(before) + 1))
    return sum(state != right for state, right in zip(states, expected, strict=True))


async def _positions(scene: Launch) -> list[int | None]:
    await asyncio.gather(*(visitor.ask() for visitor in scene.waiting))
    return [visitor.position for visitor in scene.waiting]


def table(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{'the store is':20} {'first':>9}  {'later p50, p99, max':>27}  {'healthy':>8}  by policy  places lost"]
    for name, each in figures["faults"].items():
        later, ratio = each["later_ms"], each["later_ms"]["p50"] / each["healthy_ms"]["p50"]
        lines.append(
            f"{name:20} {each['first_ms']:6.1f} ms  {later['p50']:7.3f} {later['p99']:7.3f} {later['max']:7.3f} ms"
            f"  {ratio:5.2f} of it  {'yes' if each['by_policy'] else 'NO':9}  {each['places_lost']}{'' if each['ok'] else '  FAILED'}"
        )
    return "\n".join(lines)
