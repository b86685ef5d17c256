"""What tests of commands share: a namespace of their own on the shared store."""

import itertools
from pathlib import Path

import pytest

from tests.cli.running import Command
from tests.cli.work import Work
from tests.servers import Server

_namespaces = itertools.count(1)


@pytest.fixture
def on_store(valkey: Server) -> dict[str, str]:
    """The environment that points a command at the shared Valkey, where no other test's tenants are."""
    return {"REDIS_URL": valkey.url, "ROPELINE_NAMESPACE": f"cli-{next(_namespaces)}"}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Commands in an empty folder that know no store."""
    return Command(capsys, monkeypatch, tmp_path)


@pytest.fixture
def on_store_command(command: Command, on_store: dict[str, str]) -> Command:
    """Commands on the shared Valkey, where no other test's tenants are."""
    return command.on(on_store)


@pytest.fixture
def work(valkey: Server) -> Work:
    """The jobs of a stage that no other test uses, on the shared Valkey."""
    return Work(valkey.url, f"cli-{next(_namespaces)}")


@pytest.fixture
def on_work(command: Command, work: Work) -> Command:
    """Commands on the jobs of that stage."""
    return command.on(work.environ)
