"""What the tests of the line share: a client that calls scripts one after the other, without an event loop."""

from collections.abc import Iterator

import pytest

from loadtests.campaign.blocking import BlockingClient
from tests.servers import Server


@pytest.fixture
def blocking_client(valkey: Server) -> Iterator[BlockingClient]:
    client = BlockingClient(valkey.port)
    yield client
    client.close()
