"""Whatever is wrong with a command is told in one line, with the field, the value and what is right."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ropeline
from ropeline.server import free_port
from tests.cli.running import COMMAND, Command, environment, run
from tests.servers import Server


def test_it_says_its_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").out == f"ropeline {ropeline.__version__}\n"
    as_module = [sys.executable, "-m", "ropeline", "--version"]
    assert subprocess.run(as_module, check=True, capture_output=True, text=True).stdout.startswith("ropeline ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "command"),
        (("tenat",), "command: invalid choice: 'tenat' (choose from"),
        (("status", "--jsn"), "--jsn"),
        (("up", "--port", "65536"), "--port: got '65536', expected a whole number from 0 to 65535"),
        (("up", "--crowd", "-1"), "--crowd"),
        (("up", "--quota", "many"), "--quota: got 'many', expected a whole number from 0 to"),
        (("up", "--host", "no.such.host.invalid"), "--host: got 'no.such.host.invalid', expected an address of"),
        (("tenant", "set", "demo"), "KEY=VALUE"),
        (("tenant", "get", "D{mo"), "NAME: got 'D{mo', expected 1 to 63 of the characters"),
        (("tenant", "set", "demo", "quota"), "KEY=VALUE: got 'quota', expected a setting and its value"),
        (("sessions", "revoke", "demo", "1234"), "SESSION_ID: got '1234', expected a UUID"),
        (("status",), "no store: give --redis-url, set ROPELINE_REDIS_URL or REDIS_URL, or start `ropeline up`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input_is_refused_in_one_line(command: Command, arguments: tuple[str, ...], told: str) -> None:
    ended = command(*arguments)
    assert ended.status == 2
    assert told in ended.refusal


def test_an_address_that_is_none_is_refused_without_its_password(command: Command) -> None:
    ended = command("status", "--redis-url", "http://user:hunter2@host/")
    assert ended.status == 2
    assert ended.refusal.startswith("redis_url: got 'http://***@host/', expected one of redis://")


@pytest.mark.parametrize("arguments", [("status",), ("doctor",), ("tenant", "list"), ("up", "--port", "0")])
def test_a_store_that_is_not_there_is_told_with_its_address(command: Command, arguments: tuple[str, ...]) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    ended = command.on({"REDIS_URL": url})(*arguments)
    assert ended.status == 1
    shown = url.replace(":hunter2", "***")
    assert ended.refusal.startswith(f"the store at {shown} (from REDIS_URL) does not answer: ")


def test_a_password_that_is_wrong_is_told(command: Command, valkey: Server) -> None:
    ended = command("tenant", "list", "--redis-url", f"redis://nobody:hunter2@127.0.0.1:{valkey.port}/0")
    assert ended.status == 1
    assert "(from --redis-url) refuses the user: " in ended.refusal
    assert "hunter2" not in ended.refusal


@pytest.mark.parametrize("name", ["ROPELINE_LOG_LEVEL", "ROPELINE_LOG_FORMAT", "ROPELINE_NAMESPACE"])
def test_a_variable_that_is_wrong_is_told_by_its_name(tmp_path: Path, valkey: Server, name: str) -> None:
    ended = run(tmp_path, "tenant", "list", environ={"REDIS_URL": valkey.url, name: "W{ong"})
    assert ended.status == 2
    assert ended.refusal.startswith(f"{name}: got 'W{{ong', expected ")


def test_the_command_line_goes_before_the_environment(on_store_command: Command, valkey: Server) -> None:
    wrong = f"redis://127.0.0.1:{free_port()}/0"
    command = on_store_command.on({"ROPELINE_REDIS_URL": wrong})
    assert command("status").refusal.startswith(f"the store at {wrong} (from ROPELINE_REDIS_URL)")
    assert command("status", "--redis-url", valkey.url).status == 0


@pytest.mark.parametrize("package", ["uvicorn", "uvloop", "httptools", "starlette", "rich"])
def test_an_extra_that_is_missing_is_named(command: Command, package: str) -> None:
    command.patch.setitem(sys.modules, package, None)
    ended = command("up")
    assert ended.status == 1
    assert ended.refusal == f"`ropeline up` needs {package}: run pip install 'ropeline[up]'"


def test_a_port_that_is_taken_is_named(command: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("up", "--port", str(port))
    assert ended.status == 2
    assert ended.refusal == f"--port: got {port}, expected a port that can be had on 127.0.0.1 (Address already in use)"
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = command("up", "--port", "0", "--data", "file")
    assert ended.status == 2
    assert ended.refusal.startswith("--data: got 'file', expected a folder that can be made, read and written (")


def test_a_secret_key_that_was_spoilt_is_told_without_showing_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text("short\n")
    ended = command("up", "--port", "0", "--data", "data")
    assert ended.status == 2
    assert ended.refusal.startswith("data/secret.key: got '5 bytes (hidden)', expected ")
    assert ended.refusal.endswith("remove the file for a new one")


def test_what_nobody_foresaw_is_one_line_too(on_store_command: Command, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    on_store_command.patch.setattr("ropeline.cli.tenant.aligned", fail)
    assert on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=1").refusal == (
        "ZeroDivisionError: division by zero (ROPELINE_LOG_LEVEL=debug says where)"
    )


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path, on_store: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    doctor = [COMMAND, "doctor"]
    done = subprocess.run(
        doctor, cwd=tmp_path, env=environment(on_store), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.stderr, done.returncode) == ("", 1)
