"""One tenant's line on a real server whose clock, run id and losses are simulated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.campaign.blocking import BlockingClient, Command
from ropeline.lua.keys import TenantKeys
from ropeline.lua.loader import ScriptSource, load_script
from ropeline.lua.scripts import LineScripts

__all__ = ["NAMESPACE", "Rewrite", "SimulatedStore", "SimulatedTime", "Snapshot"]

NAMESPACE = "campaign"
_START = 1_790_000_000_000_000

Rewrite = Callable[[str, str], str]
"""Changes a script before it is sent: name and text in, text out."""


@dataclass
class SimulatedTime:
    """The server's clock (us) and run id, as LineScripts takes them."""

    now: int = _START
    run: str = "1"


@dataclass(frozen=True)
class Snapshot:
    """A copy of everything that the store held of a line, key by key."""

    copies: list[bytes | None]
    taken: int
    """Server's clock, us."""
    companion: object = None
    """Whatever else has to go back to the same moment."""


class SimulatedStore:
    """The line of `tenant`: `scripts` makes one round trip a call, and time stands still meanwhile."""

    def __init__(self, client: BlockingClient, tenant: str, *, rewrite: Rewrite | None = None) -> None:
        self.client = client
        self.time = SimulatedTime()
        self.keys = TenantKeys(NAMESPACE, tenant)
        self.scripts: LineScripts = (
            LineScripts(client, NAMESPACE, tenant, test_clock=self.time)
            if rewrite is None
            else _RewrittenScripts(client, tenant, self.time, rewrite)
        )
        self._runs = itertools.count(2)

    def take_snapshot(self) -> Snapshot:
        """A copy of the line as it is now."""
        return Snapshot(self.client.pipeline([("DUMP", key) for key in self.keys.all()]), self.time.now)

    def go_back_to(self, snapshot: Snapshot) -> None:
        """Put an earlier copy in the place of what the store holds: what came after it is lost."""
        commands: list[Command] = [("DEL", *self.keys.all())]
        for key, copy in zip(self.keys.all(), snapshot.copies, strict=True):
            if copy is not None:
                commands.append(("RESTORE", key, 0, copy))
        self.client.pipeline(commands)

    def fail_over(self, snapshot: Snapshot) -> None:
        """Another server takes over with what it had received, the snapshot."""
        self.go_back_to(snapshot)
        self.start_anew()

    def start_anew(self) -> None:
        """Another process serves from now on, with a run id of its own."""
        self.time.run = str(next(self._runs))

    def lose_everything(self) -> None:
        """The store is emptied behind everybody's back."""
        self.client.call("DEL", *self.keys.all())


class _RewrittenScripts(LineScripts):
    """LineScripts whose texts are changed before they are sent."""

    def __init__(self, client: BlockingClient, tenant: str, time: SimulatedTime, rewrite: Rewrite) -> None:
        super().__init__(client, NAMESPACE, tenant, test_clock=time)
        self._time = time
        self._rewrite = rewrite
        self._rewritten: dict[str, ScriptSource] = {}

    async def _call(
        self, name: str, *arguments: str | bytes | int, keys: tuple[bytes, ...] | None = None
    ) -> list[object]:
        if name not in self._rewritten:
            self._rewritten[name] = ScriptSource(name, self._rewrite(name, load_script(name).text))
        keys = keys or self._keys
        return await self._run(self._rewritten[name], keys, str(self._time.now), self._time.run, *arguments)
