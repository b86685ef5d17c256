"""Calls the operators' API in every way that its OpenAPI document allows and in some that it does not, by schemathesis.

`python -m loadtests.contract --examples 400`: no 5xx, no undocumented status, no answer that the schema does not know.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ropeline.admin_api.backoff import Backoff
from ropeline.admin_api.key_store import KeyStore
from ropeline.admin_api.operators import KeyDraft
from ropeline.admin_api.settings import AdminSettings
from ropeline.cli.admin_server import AdminServer
from ropeline.cli.listening import listen, loopback
from ropeline.lua.audit import Author
from ropeline.server import EmbeddedServer

_CONFIG = Path(__file__).with_name("schemathesis.toml")
_COMMAND = Path(sys.executable).with_name("schemathesis")
_CASES = re.compile(r"(\d[\d,]*) generated")


class _NoBackoff(Backoff):
    """Bad keys come by the thousand here, all from one address."""

    def failed(self, address: bytes) -> int:  # noqa: ARG002 - as the class above has it
        return 0


@contextmanager
def served() -> Iterator[tuple[str, str]]:
    """An API on a store of its own, in a thread; its address and the key of a superuser."""
    with EmbeddedServer() as store, listen("127.0.0.1", 0) as listener:
        settings = AdminSettings(redis_url=store.url, secret_keys=("k" * 32,), admin_deadline_ms=20_000)
        server = AdminServer(settings)
        context = server.app.state.context
        context.access.backoff = _NoBackoff()
        made: list[str] = []

        async def run() -> None:
            keys: KeyStore = context.keys
            draft = KeyDraft(name="schemathesis", role="superuser")
            made.append((await keys.create(draft, Author("contract", "create_key")))[0])
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://{loopback(listener)[2]}", made[0]
        finally:
            server.should_exit = True
            thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; 1 when one has failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.contract", description=__doc__)
    parser.add_argument("--examples", type=int, default=10, help="random cases of each call (default: 10)")
    parser.add_argument("--phases", default="examples,coverage,fuzzing", help="of schemathesis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with served() as (url, key), tempfile.TemporaryDirectory() as folder:
        command = [
            *(_COMMAND, "--config-file", _CONFIG, "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--checks", "all", "--phases", options.phases),
            *("--max-examples", str(options.examples), "--seed", str(options.seed)),
            *("--generation-database", "none", "--no-color"),
        ]
        # It leaves a folder with what it found where it runs.
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603 - ours
    found = _CASES.search(ended.stdout)
    cases = int(found[1].replace(",", "")) if found else 0
    seconds = round(time.monotonic() - began, 1)
    if options.json:
        report = {"cases": cases, "seconds": seconds, "failed": ended.returncode != 0}
        sys.stdout.write(f"{json.dumps(report)}\n")
    else:
        sys.stdout.write(f"{cases} cases in {seconds} s: {'WRONG' if ended.returncode else 'as documented'}\n")
    if ended.returncode:
        sys.stderr.write(f"{ended.stdout}{ended.stderr}")
    return 1 if ended.returncode or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
