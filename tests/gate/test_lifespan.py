"""How a gate starts and stops: with the application, without, around every kind of site, and when it must not."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import django
import pytest
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from fastapi import FastAPI
from quart import Quart
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from ropeline.gate.asgi import Application, Receive, Scope, Send
from ropeline.gate.gate import Gate
from ropeline.gate.middleware import GateMiddleware
from ropeline.lua.errors import ConfigurationError
from tests.gate.visitors import Site, Visitor, lifespan, running, settings, tenant
from tests.servers import Server, StartServer
from tests.support import wait_until


async def _shop(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"shop {request.url.path} {request.headers['waiting-room']}")


def _starlette() -> Application:
    return Starlette(routes=[Route("/{rest:path}", _shop)])


def _fastapi() -> Application:
    app = FastAPI()
    app.add_api_route("/{rest:path}", _shop)
    return app


def _quart() -> Application:
    app = Quart(__name__)

    @app.get("/<path:rest>")
    async def shop(rest: str) -> str:
        return f"shop /{rest} {quart_request.headers['waiting-room']}"

    return app  # type: ignore[return-value]  # its scopes are typed dictionaries


def _django() -> Application:
    def shop(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"shop {request.path} {request.headers['waiting-room']}")

    if not django_settings.configured:
        urls = type("urls", (), {"urlpatterns": [re_path(".*", shop)]})
        django_settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
        django.setup()
    site: Application = get_asgi_application()
    return site


def _mounted_below() -> Application:
    return Starlette(routes=[Mount("/shop", app=Starlette(routes=[Route("/{rest:path}", _shop)]))])


@pytest.mark.parametrize("make_site", [_starlette, _fastapi, _quart, _django, _mounted_below])
async def test_one_line_mounts_it_around_any_application(
    valkey: Server, tenant_name: str, make_site: Callable[[], Application]
) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], site=make_site()) as gated:
        first, second = gated.visitor(tenant_name), gated.visitor(tenant_name)
        answer = await first.get("/shop/cart")
        assert (answer.status, answer.body.decode()) == (200, f"shop /shop/cart admitted;tenant={tenant_name}")
        assert (await first.get("/shop/cart")).header("set-cookie")
        assert (await second.get("/shop/cart")).told == "queued"


async def test_it_may_stand_inside_an_application_too(valkey: Server, tenant_name: str) -> None:
    inner = GateMiddleware(_starlette(), settings(valkey.url, tenant_name), tenants=[tenant(tenant_name)])
    outer = Starlette(routes=[Mount("/tickets", app=inner), Route("/{rest:path}", _shop)])
    visitor = Visitor(outer, f"{tenant_name}.example.com")
    answer = await visitor.get("/tickets/7")
    assert answer.body.startswith(b"shop /tickets/7 admitted")
    assert (await Visitor(outer, f"{tenant_name}.example.com").get("/tickets/7")).told == "queued"
    await inner.gate.stop()


async def test_the_sites_own_lifespan_goes_on(valkey: Server, tenant_name: str) -> None:
    events = []

    @asynccontextmanager
    async def lasting(_: Starlette) -> AsyncIterator[dict[str, int]]:
        events.append("started")
        yield {"connections": 3}
        events.append("stopped")

    app = GateMiddleware(Starlette(lifespan=lasting), settings(valkey.url, tenant_name))
    async with lifespan(app):
        assert events == ["started"]
        assert app.gate.is_ready
    assert events == ["started", "stopped"]
    assert not app.gate.is_ready


async def _says_no(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("only http here")
    await Site()(scope, receive, send)


async def _says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        await Site()(scope, receive, send)


async def _listens_first(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ValueError("only http here")
    await Site()(scope, receive, send)


@pytest.mark.parametrize("site", [_says_no, _says_nothing, _listens_first])
async def test_a_site_without_lifespan_gets_a_gate_that_starts_and_stops_in_order(
    valkey: Server, tenant_name: str, site: Application
) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)], site=site) as gated:
        assert gated.gate.is_ready
        assert (await gated.visitor(tenant_name).get()).status == 200
    assert not gated.gate.is_ready


async def test_a_site_that_fails_to_start_fails(valkey: Server, tenant_name: str) -> None:
    events: list[str] | None = []

    @asynccontextmanager
    async def failing(_: Starlette) -> AsyncIterator[None]:
        if events is not None:
            raise RuntimeError("no database")
        yield

    app = GateMiddleware(Starlette(lifespan=failing), settings(valkey.url, tenant_name))
    with pytest.raises(RuntimeError, match="no database"):
        async with lifespan(app):
            pass
    assert not app.gate.is_ready


async def test_without_lifespan_the_first_requests_start_it_once(valkey: Server, tenant_name: str) -> None:
    app = GateMiddleware(Site(), settings(valkey.url, tenant_name))
    writer = Gate(settings(valkey.url, tenant_name), tenants=[tenant(tenant_name, total_active_users=3)])
    await writer.start()
    await writer.stop()
    visitors = [Visitor(app, f"{tenant_name}.example.com") for _ in range(20)]
    answers = await asyncio.gather(*(visitor.get() for visitor in visitors))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [503] * 17, "no request is ahead of the tenants"
    await app.gate.stop()


async def test_a_gate_may_be_started_again(valkey: Server, tenant_name: str) -> None:
    app = GateMiddleware(Site(), settings(valkey.url, tenant_name), tenants=[tenant(tenant_name)])
    visitor = Visitor(app, f"{tenant_name}.example.com")
    for _ in range(2):
        async with lifespan(app):
            assert (await visitor.get()).status == 200


async def test_applications_may_share_a_gate(valkey: Server, tenant_name: str) -> None:
    gate = Gate(settings(valkey.url, tenant_name), tenants=[tenant(tenant_name)])
    apps = [GateMiddleware(Site(), gate=gate) for _ in range(2)]
    first, second = (Visitor(app, f"{tenant_name}.example.com") for app in apps)
    assert sorted([(await first.get()).status, (await second.get()).status]) == [200, 503]
    await gate.stop()


async def test_other_scopes_go_to_the_site(valkey: Server, tenant_name: str) -> None:
    seen = []

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    app = GateMiddleware(site, settings(valkey.url, tenant_name))

    async def nothing(*_: object) -> None:
        return None

    await app({"type": "telegraph"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == ["telegraph"]


# --- what must not run ----------------------------------------------------------------------------------------------


async def test_a_store_that_forgets_at_will_is_refused_at_the_start(start_server: StartServer) -> None:
    server = start_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    app = GateMiddleware(Site(), settings(server.url, "gate"), tenants=[tenant("acme")])
    with pytest.raises(RuntimeError, match="maxmemory-policy: got 'allkeys-lru', expected noeviction"):
        async with lifespan(app):
            pass


async def test_a_site_without_lifespan_is_no_way_around_that(start_server: StartServer) -> None:
    server = start_server("--maxmemory-policy", "volatile-ttl")
    app = GateMiddleware(_says_no, settings(server.url, "gate"), tenants=[tenant("acme")])
    with pytest.raises(RuntimeError, match="maxmemory-policy: got 'volatile-ttl'"):
        async with lifespan(app):
            pass


async def test_without_lifespan_a_refused_store_lets_nobody_in_until_it_is_put_right(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server("--maxmemory-policy", "allkeys-lru")
    site = Site()
    app = GateMiddleware(site, settings(server.url, "gate"), tenants=[tenant("acme", on_store_error="open")])
    visitor = Visitor(app, "acme.example.com")
    clock = asyncio.get_running_loop().time
    started = clock()
    with caplog.at_level(logging.ERROR):
        for _ in range(50):
            answer = await visitor.get()
            assert answer.status == 503
            assert b"allkeys" not in answer.body, "that is for the log"
    assert 1 <= len(caplog.records) <= clock() - started + 1, "and there once a second at most"
    assert site.requests == []
    server.call("CONFIG SET", "maxmemory-policy", "noeviction")

    async def is_served() -> bool:
        return (await visitor.get()).status == 200

    await wait_until(is_served)
    await app.gate.stop()


async def test_a_store_that_comes_later_is_looked_at_as_one_at_the_start(start_server: StartServer) -> None:
    server = start_server("--maxmemory-policy", "allkeys-lru")
    server.kill()
    async with running(server.url, "gate", [tenant("acme", on_store_error="open")]) as gated:
        visitor = gated.visitor("acme")
        assert (await visitor.get()).told == "failing-open"
        server.start()
        await wait_until(lambda: not gated.gate.is_ready, timeout=15)
        assert (await visitor.get()).status == 503
        assert len(gated.site.requests) == 1


async def test_credentials_that_the_store_refuses_are_refused_and_not_shown(start_server: StartServer) -> None:
    server = start_server("--requirepass", "right", password="right")
    url = server.url.replace("right", "wrong")
    gate = Gate(settings(url, "gate"), tenants=[tenant("acme")])
    with pytest.raises(ConfigurationError, match=r"redis_url: got .*credentials that the server accepts") as refused:
        await gate.start()
    assert "wrong@" not in str(refused.value)
    assert ":wrong" not in str(refused.value)
    await gate.stop()


async def test_a_file_whose_host_another_tenant_has_is_refused_at_the_start(valkey: Server, tenant_name: str) -> None:
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]):
        app = GateMiddleware(
            Site(),
            settings(valkey.url, tenant_name),
            tenants=[tenant("thief", host=f"{tenant_name}.example.com")],
        )
        with pytest.raises(RuntimeError, match=f"host: got '{tenant_name}.example.com/'.*{tenant_name} has it"):
            async with lifespan(app):
                pass


async def test_nothing_is_left_behind_when_it_stops(valkey: Server, tenant_name: str) -> None:
    before = asyncio.all_tasks()
    async with running(valkey.url, tenant_name, [tenant(tenant_name)]) as gated:
        visitor = gated.visitor(tenant_name)
        await asyncio.gather(visitor.get(), visitor.get(), visitor.get())
    assert asyncio.all_tasks() - before == set()


async def test_tenants_come_from_a_file_that_the_settings_name(
    valkey: Server, tenant_name: str, tmp_path: Path
) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(f'[[tenant]]\nname = "acme"\nhost = "{tenant_name}.example.com"\ntotal_active_users = 1\n')
    app = GateMiddleware(Site(), settings(valkey.url, tenant_name, tenants_file=str(file)))
    async with lifespan(app):
        visitor = Visitor(app, f"{tenant_name}.example.com")
        assert (await visitor.get()).header("waiting-room") == "admitted;tenant=acme"
    file.write_text('[[tenant]]\nname = "acme"\nhost = "a b"\ntotal_active_users = 1\n')
    with pytest.raises(ConfigurationError, match=r"tenants\.toml: \[\[tenant\]\] 1 \(acme\): host: got 'a b'"):
        GateMiddleware(Site(), settings(valkey.url, tenant_name, tenants_file=str(file)))
