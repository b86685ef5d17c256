"""Keeps a job that has completed from running again: its worker leaves a mark before it tells the queue, and looks for one first.

Between the handler's end and the queue's answer a worker can die, or a failover can take the answer back; the job is delivered
again then. The mark is in a slot of its own. It costs two calls a job, and cannot help a worker that dies before it is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ropeline.jobs.ids import derived_id
from ropeline.jobs.shapes.split import Split
from ropeline.lua.errors import StoreError

if TYPE_CHECKING:
    from ropeline.jobs.app import Jobs
    from ropeline.jobs.broker import Broker

__all__ = ["FinishedMark"]

_log = logging.getLogger("ropeline.jobs.worker.finished")
_INSTEAD: Final = "an async handler"


class FinishedMark:
    """The mark of one job, kept for `keep` ms. What `call` returns is None where the job has completed before."""

    __slots__ = ("_app", "_keep", "_key", "_name")

    def __init__(self, app: Jobs, queue: str, id: bytes, keep: int) -> None:
        self._app, self._keep, self._name = app, keep, f"job {id.hex()} of {queue}"
        self._key = derived_id("finished", queue, id)

    async def call(self, handler: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run an async handler unless there is a mark, and leave one."""
        broker = self._app.broker()
        if await self._is_there(broker):
            return None
        value = await handler()
        if not isinstance(value, Split):
            await self._leave(broker)
        return value

    def call_sync(self, handler: Callable[[], Any]) -> Any:
        """As `call`, of a handler in a thread."""
        run = self._app.run_sync
        if run(lambda: self._is_there(self._app.broker()), instead=_INSTEAD):
            return None
        value = handler()
        if not isinstance(value, Split):
            run(lambda: self._leave(self._app.broker()), instead=_INSTEAD)
        return value

    async def _is_there(self, broker: Broker) -> bool:
        is_there = await broker.is_marked(self._key)
        if is_there:
            _log.info("%s has completed before, and does not run again", self._name)
        return is_there

    async def _leave(self, broker: Broker) -> None:
        try:
            await broker.mark(self._key, self._keep)
        except StoreError as error:
            # The work is done: to run it again is what the mark was to prevent.
            _log.warning("%s: that it has completed could not be remembered: %s", self._name, error)
