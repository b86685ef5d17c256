"""Visitors' ids are UUIDs, and nobody gets one that somebody else has."""

import subprocess
import sys
from uuid import RFC_4122, UUID

from ropeline.gate.ids import new_id

FORK = """
import os
from ropeline.gate.ids import new_id
new_id()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"".join(new_id() for _ in range(300)))
    os._exit(0)
mine = {new_id() for _ in range(300)}
os.wait()
theirs = os.read(reader, 16 * 300)
print(len(mine | {theirs[at : at + 16] for at in range(0, len(theirs), 16)}))
"""


def test_an_id_is_a_random_uuid() -> None:
    for _ in range(1000):
        id_ = UUID(bytes=new_id())
        assert (id_.version, id_.variant) == (4, RFC_4122)


def test_no_id_is_given_twice() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_forked_process_gives_ids_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True).stdout == "600\n"
