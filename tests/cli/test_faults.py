"""`ropeline faults gate` as a user runs it; its times are for the person who reads them, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

FAULTS = {
    "gone",
    "reset",
    "silent",
    "delayed by 1 s",
    "paused",
    "killed, back empty",
    "read-only",
    "disk refuses",
    "loading",
    "full",
    "right taken away",
}


def test_every_fault_is_answered_by_policy_and_costs_nobody_a_place() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("ropeline"), "faults", "gate", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    figures = json.loads(done.stdout)
    assert figures["faults"].keys() == FAULTS
    for name, each in figures["faults"].items():
        assert each["by_policy"], (name, each["verdicts"])
        assert each["places_lost"] == 0, name
        assert each["first_ms"] > 0
        assert each["later_ms"].keys() == each["healthy_ms"].keys() == {"p50", "p99", "max"}
    assert figures["ok"] == all(each["ok"] for each in figures["faults"].values()) == (done.returncode == 0)
    assert done.stderr == "", "the faults are meant: nobody is warned of them"
