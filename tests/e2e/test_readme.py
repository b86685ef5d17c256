"""The first lines of code that the README shows, saved and served as a reader would."""

import re
from pathlib import Path

import httpx

from tests.contracts.checkout import ROOT
from tests.e2e.site import running_site
from tests.servers import Server
from tests.support import wait_until


async def test_the_example_serves_its_site_and_sends_the_second_visitor_into_line(
    valkey: Server, tmp_path: Path
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "main.py").write_text(example, encoding="utf-8")
    async with running_site(valkey.url, app="main:app", folder=tmp_path) as site:
        room = await site.open_room("readme")
        async with (
            httpx.AsyncClient(base_url=site.address, headers={"Host": "readme.localhost"}) as first,
            httpx.AsyncClient(base_url=site.address, headers={"Host": "readme.localhost"}) as second,
        ):
            for _ in range(2):
                answer = await first.get("/")
                assert (answer.status_code, answer.text) == (200, "Two tickets left.")
            for _ in range(2):
                assert "You are in line" in (await second.get("/")).text
            await room.stands_at(active=1, waiting=1)
            await first.post("/.well-known/waiting-room/leave")
            await wait_until(lambda: is_let_in(second))


async def is_let_in(visitor: httpx.AsyncClient) -> bool:
    return (await visitor.get("/")).text == "Two tickets left."
