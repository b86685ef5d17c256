"""The scripts of a queue whose pending and active jobs are in streams, behind the methods of those that have them in sorted sets."""

from __future__ import annotations

from typing import Any

from ropeline.lua.calls import CommandClient, TestClock
from ropeline.lua.cron_scripts import CronScripts
from ropeline.lua.keys import CronKeys, StreamKeys
from ropeline.lua.loader import ScriptSource, load_script, script_names
from ropeline.lua.queue_scripts import QueueScripts

__all__ = ["StreamCronScripts", "StreamScripts"]

_NAMES = frozenset(name.partition("/")[2] for name in script_names() if name.startswith("streams/"))


class StreamScripts(QueueScripts):
    """The scripts on one queue of a stage; see QueueScripts. Those that touch no pending or active job are the same ones."""

    keys = StreamKeys

    def step_command(self, **arguments: Any) -> tuple[str | bytes | int, ...]:
        """A step that finishes nothing as a command; see QueueScripts."""
        name, _, *rest = super().step_command(**arguments)
        return (name, load_script("streams/step").sha, *rest)

    async def list(self, *, state: str, limit: int, stream: int, entry: bytes) -> tuple[int, bytes, list[bytes]]:
        """Where to go on, -1 at the end, and ids of at most 1 to 1,000 jobs that are `pending` or `active`, the next to be claimed first.

        `stream`, `entry`: where to begin; 0 and nothing: at the beginning.
        """
        stream, entry, *ids = await self._run(load_script("streams/list"), self._jobs, state, limit, stream, entry)
        return stream, entry, ids

    async def _reply(self, script: ScriptSource, keys: tuple[str | bytes, ...], *arguments: str | bytes | float) -> Any:
        return await super()._reply(_of_streams(script), keys, *arguments)


class StreamCronScripts(CronScripts):
    """The scripts on the cron jobs of such a queue; see CronScripts."""

    def __init__(
        self, client: CommandClient, namespace: str, stage: str, queue: str, *, test_clock: TestClock | None = None
    ) -> None:
        super().__init__(client, namespace, stage, queue, test_clock=test_clock)
        keys = (*StreamKeys(namespace, stage, queue).jobs(), *CronKeys(namespace, stage, queue).cron())
        self._fire = tuple(key.encode() for key in keys)

    async def _reply(self, script: ScriptSource, keys: tuple[str | bytes, ...], *arguments: str | bytes | float) -> Any:
        return await super()._reply(_of_streams(script), keys, *arguments)


def _of_streams(script: ScriptSource) -> ScriptSource:
    folder, _, name = script.name.partition("/")
    # A cron job's definition is read by a script that has the name of none of a queue's.
    return load_script(f"streams/{name}") if folder in ("queue", "cron") and name in _NAMES else script
