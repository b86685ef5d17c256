"""The cluster client: redis-py's, made fit for calls that are sent once and given up on at a deadline.

redis-py hides three things behind its retries, which we may not use: every fifth redirection closes all connections
under the calls of others, a caller that gives up while the layout is looked for ends the search for all, and a call that
its caller gives up on teaches nothing, so that a silent node is asked for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from redis import exceptions as redis_errors
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, ClusterPubSub

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from redis.asyncio.connection import Connection

__all__ = ["PatientCluster"]

_REFRESH_PAUSE_SECONDS: Final = 0.5
# For what is no call: subscriptions, which keep theirs, and searches for the layout.
_SPARE_CONNECTIONS: Final = 8


class PatientCluster(RedisCluster):
    """A cluster client that never repeats a command, bounds its calls, and looks for a new layout in the background.

    Args:
        connection_class: what it connects to nodes by.
        max_connections: most calls at once, and so most connections to each node.
        pool_wait: seconds that a call beyond them waits for its turn.
        options: as for redis-py's RedisCluster.

    """

    def __init__(
        self, *, connection_class: type[Connection], max_connections: int, pool_wait: float, **options: Any
    ) -> None:
        super().__init__(max_connections=max_connections + _SPARE_CONNECTIONS, reinitialize_steps=0, **options)
        # redis-py has no option for it. Nodes that are found later are made with these arguments.
        self.connection_kwargs["connection_class"] = connection_class
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = connection_class
        self._turns = asyncio.Semaphore(max_connections)
        self._pool_wait = pool_wait
        self._search: asyncio.Task[Any] | None = None
        self._next_search = 0.0

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(self._pool_wait):
                await self._turns.acquire()
        except TimeoutError:
            raise redis_errors.MaxConnectionsError("No connection available.") from None
        try:
            return await super().execute_command(*args, **kwargs)
        except asyncio.CancelledError:
            self._initialize = True
            raise
        finally:
            self._turns.release()
            if self._initialize and self._knows_layout:
                self.search_again()

    def pubsub(
        self, node: ClusterNode | None = None, host: str | None = None, port: int | None = None, **options: Any
    ) -> ClusterPubSub:
        """A subscription; it finds its node also when it is the first thing asked of this client, or the node moved."""
        return _PatientSubscription(self, node, host, port, **options)

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> Self:
        """Learn the layout of the cluster if it is not known; go on with the old one while a new one is looked for."""
        if self._initialize:
            if self._knows_layout:
                self.search_again()
            else:
                # A caller that gives up must not undo the work of all who wait for it.
                search = super().initialize(additional_startup_nodes_info, last_failed_node_name)
                await asyncio.shield(self._searching(search))
        return self

    async def aclose(self) -> None:
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait({self._search})
        self._initialize = False  # redis-py closes nothing while a search is due
        await super().aclose()

    @property
    def _knows_layout(self) -> bool:
        return self.nodes_manager.default_node is not None

    def search_again(self) -> None:
        """Look for a new layout in the background, unless that was done half a second ago."""
        self._initialize = False
        now = asyncio.get_running_loop().time()
        # Each search makes every connection reconnect, so a node that stays away may not cause one after another.
        if now >= self._next_search:
            self._next_search = now + _REFRESH_PAUSE_SECONDS
            self._searching(self.nodes_manager.initialize())

    def _searching(self, search: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._search is not None and not self._search.done():
            search.close()
        else:
            self._search = asyncio.get_running_loop().create_task(search)
            self._search.add_done_callback(_note)
        return self._search


class _PatientSubscription(ClusterPubSub):
    """A subscription that learns the layout before it chooses a node, and doubts it when that node fails."""

    def __init__(self, cluster: PatientCluster, *place: Any, **options: Any) -> None:
        super().__init__(cluster, *place, **options)
        self._patient = cluster

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        await self._patient.initialize()
        try:
            return await super().execute_command(*args, **kwargs)
        except (redis_errors.ConnectionError, redis_errors.TimeoutError, asyncio.CancelledError):
            self._patient.search_again()
            raise


def _note(search: asyncio.Task[Any]) -> None:
    """Take notice of how a search ended: its failure is told by the next call that fails."""
    if not search.cancelled():
        search.exception()
