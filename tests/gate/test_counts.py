"""What gate processes count: exact sums over all of a host, whichever of them live."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ropeline.gate.counts import DECISION_BOUNDS, FAILING, NOBODY, RULES, Counts, count_time, read_folder
from ropeline.gate.kinds import Kind
from ropeline.lua.errors import ConfigurationError

ADMITTED = Kind.ADMITTED.index

# Counts a visit of each tenant that is named, says so, and waits for its end.
PROCESS = """
import sys
from pathlib import Path
from ropeline.gate.counts import Counts, FAILING
counts = Counts(Path(sys.argv[1]))
for name in sys.argv[2:]:
    counts.of(name)[1] += 1
    counts.of(name)[FAILING] = 1
print("counted", flush=True)
sys.stdin.read()
"""


def kill_after_counting(folder: Path, *tenants: str) -> None:
    """A process that counts and is ended without a chance to say anything."""
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), *tenants], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"counted\n"
        assert read_folder(folder).count(tenants[0], FAILING) == 1
        process.send_signal(signal.SIGKILL)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.counts"))


def test_the_processes_of_a_host_are_added_up(tmp_path: Path) -> None:
    one, other = Counts(tmp_path / "new"), Counts(tmp_path / "new")
    one.of("acme")[ADMITTED] += 2
    other.of("acme")[ADMITTED] += 3
    other.of("beta")[RULES + 99] += 1
    for sums in (one.sums(), other.sums(), read_folder(tmp_path / "new")):
        assert (sums.count("acme", ADMITTED), sums.count("beta", RULES + 99), sums.living) == (5, 1, 2)
        assert sums.count("unknown", ADMITTED) == 0


def test_what_a_killed_process_has_counted_stays_and_the_next_one_counts_on(tmp_path: Path) -> None:
    assert ADMITTED == 1, "as the process counts it"
    for _ in range(3):
        kill_after_counting(tmp_path, "acme", "beta")
    left = read_folder(tmp_path)
    assert (left.count("acme", ADMITTED), left.count("acme", FAILING), left.living) == (3, 0, 0)
    counts = Counts(tmp_path)
    counts.of("beta")[ADMITTED] += 1
    counts.of("gamma")[ADMITTED] += 1
    sums = counts.sums()
    assert [sums.count(name, ADMITTED) for name in ("acme", "beta", "gamma")] == [3, 4, 1]
    assert (sums.count("acme", FAILING), sums.living) == (0, 1)
    assert len(files(tmp_path)) == 1, "there are never more files than processes at once"


@pytest.mark.parametrize("has_folder", [True, False])
def test_each_of_many_tenants_has_numbers_of_its_own(tmp_path: Path, *, has_folder: bool) -> None:
    counts = Counts(tmp_path if has_folder else None)
    names = [NOBODY, *(f"tenant-{number}-{'x' * 40}" for number in range(200))]
    for number, name in enumerate(names):
        counts.of(name)[ADMITTED] += number
    sums = counts.sums()
    assert [sums.count(name, ADMITTED) for name in names] == list(range(201))
    if has_folder:
        counts.close()
        again = Counts(tmp_path)
        again.of(names[200])[ADMITTED] += 1
        again.of("one more")[ADMITTED] += 7
        assert [again.sums().count(name, ADMITTED) for name in (names[1], names[200], "one more")] == [1, 201, 7]


def test_times_are_counted_in_their_buckets(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    for nanoseconds in (0, 500_000, 500_001, 30_000_000, 5_000_000_000):
        count_time(counts.of("acme"), nanoseconds)
    buckets, total = counts.sums().times("acme")
    expected = dict.fromkeys((*DECISION_BOUNDS, float("inf")), 0) | {0.0005: 2, 0.001: 1, 0.05: 1, float("inf"): 1}
    assert (buckets, total) == (list(expected.values()), 5.031000001)


def test_a_folder_that_cannot_be_used_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"metrics_folder: got '.*/file/below', expected a folder that this"):
        Counts(tmp_path / "file" / "below")


def test_a_file_that_was_cut_or_is_not_ours_does_no_harm(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    counts.of("acme")[ADMITTED] += 1
    counts.close()
    (path,) = files(tmp_path)
    (tmp_path / "gate-0-7-0.counts").write_bytes(b"of another version")
    os.truncate(path, path.stat().st_size // 2 + 1)
    assert read_folder(tmp_path).count("acme", ADMITTED) == 1
    os.truncate(path, 0)
    again = Counts(tmp_path)
    again.of("acme")[ADMITTED] += 1
    assert again.sums().count("acme", ADMITTED) == 1
    assert read_folder(tmp_path / "missing").living == 0


def test_on_a_full_disk_visitors_are_served_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(tmp_path)

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", write)
    counts.of("acme")[ADMITTED] += 1
    assert counts.of("acme")[ADMITTED] == 1
    assert counts.sums().count("acme", ADMITTED) == 0
