"""An open stream or WebSocket is a sign of life: it holds the visit although nothing is asked."""

from ropeline.gate.presence import Presence
from ropeline.gate.tickets import Ticket, TicketState
from tests.gate.visitors import Socket, Stream, quick_tenant, running
from tests.servers import Server
from tests.support import wait_until

TICKET = Ticket("acme", b"x" * 16, TicketState.ADMITTED, 1, 1, 1, 1, 1, 0, 0)


def test_a_connection_is_due_once_for_each_stretch_of_silence() -> None:
    now = [100.0]
    presence = Presence(lambda: now[0])
    connection = presence.begin(TICKET)
    assert presence.due(10) == []
    now[0] = 110.0
    assert presence.due(10) == [connection]
    assert presence.due(10) == []
    now[0] = 120.0
    assert presence.due(10) == [connection]
    presence.end(connection)
    now[0] = 140.0
    assert presence.due(10) == []


async def test_an_open_stream_and_an_open_websocket_hold_their_sessions_past_the_end(
    valkey: Server, tenant_name: str
) -> None:
    quick = quick_tenant(tenant_name, total_active_users=2, session_duration=3 / 60)
    async with running(valkey.url, tenant_name, [quick]) as gated:
        reader, chatter = gated.visitor(tenant_name), gated.visitor(tenant_name)
        for visitor in (reader, chatter):
            await visitor.get()
            await visitor.get()
        stream, socket = Stream(reader, "/stream"), Socket(chatter)
        await stream.begin()
        await socket.next()
        started = gated.head(tenant_name).clock
        await wait_until(lambda: gated.head(tenant_name).clock > started + 4500, timeout=30)
        assert gated.head(tenant_name).active == 2, "their time was 3 s"
        gated.site.release.set()
        await stream.disconnect()
        await socket.close()
        await wait_until(lambda: gated.head(tenant_name).active == 0, timeout=30)
