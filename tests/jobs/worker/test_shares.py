"""Which queue is claimed from next: by weight within five per cent, or in strict order."""

import random

import pytest

from ropeline.jobs.worker.shares import Shares, read_queues
from ropeline.lua.errors import ConfigurationError

LARGEST_CLAIM = 64


def drain(shares: Shares, depths: dict[str, int], jobs: int, *, in_flight: int = 1, seed: int = 1) -> dict[str, int]:
    """Claim `jobs` jobs in steps of random size, `in_flight` at a time, and count them by queue."""
    draw = random.Random(seed)
    taken = dict.fromkeys(depths, 0)
    under_way: list[tuple[str, int]] = []
    while sum(taken.values()) < jobs:
        queue = shares.choose()
        if queue is not None and len(under_way) < in_flight:
            asked = draw.randint(1, LARGEST_CLAIM)
            shares.charge(queue, asked)
            under_way.append((queue, asked))
            continue
        if not under_way:
            break
        queue, asked = under_way.pop(draw.randrange(len(under_way)))
        got = min(asked, depths[queue])
        depths[queue] -= got
        taken[queue] += got
        shares.settle(queue, asked, got, is_left=depths[queue] > 0)
    return taken


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_weighted_queues_get_their_shares_within_five_per_cent_of_ten_thousand_jobs(in_flight: int) -> None:
    weights = {"critical": 6, "default": 3, "low": 1}
    taken = drain(Shares(weights), dict.fromkeys(weights, 100_000), 10_000, in_flight=in_flight)
    for name, weight in weights.items():
        share = weight / 10 * sum(taken.values())
        assert abs(taken[name] - share) <= 0.05 * share, taken


def test_what_an_empty_queue_leaves_goes_to_the_others_by_their_weights() -> None:
    taken = drain(
        Shares({"critical": 6, "default": 3, "low": 1}), {"critical": 0, "default": 50_000, "low": 50_000}, 8000
    )
    assert taken["critical"] == 0
    assert abs(taken["default"] - 3 * taken["low"]) <= 0.05 * taken["default"]


def test_a_queue_that_was_empty_has_saved_nothing_up() -> None:
    shares = Shares({"busy": 1, "idle": 1})
    shares.settle("idle", 0, 0, is_left=False)
    assert drain(shares, {"busy": 5000, "idle": 0}, 5000 - 1)["busy"] >= 4999 - LARGEST_CLAIM
    shares.fill("busy")
    shares.fill("idle")
    taken = drain(shares, {"busy": 10_000, "idle": 10_000}, 2000)
    assert abs(taken["busy"] - taken["idle"]) <= 2 * LARGEST_CLAIM


def test_strict_queues_are_emptied_in_their_order() -> None:
    shares = Shares({"low": 9, "high": 1}, strict=True)
    depths = {"low": 300, "high": 300}
    assert drain(shares, depths, 300, seed=3)["high"] <= LARGEST_CLAIM
    depths["low"] = 1000
    shares.fill("low")
    assert shares.choose() == "low"


def test_nothing_is_chosen_while_every_queue_is_empty() -> None:
    shares = Shares({"one": 1, "two": 2})
    shares.settle("one", 0, 0, is_left=False)
    assert shares.choose() == "two"
    shares.settle("two", 0, 0, is_left=False)
    assert shares.choose() is None
    shares.fill("one")
    assert shares.choose() == "one"


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_a_weight_outside_its_bounds_is_refused(weight: int) -> None:
    with pytest.raises(ConfigurationError, match="a weight from 1 to 1000"):
        Shares({"default": weight})


def test_a_worker_without_queues_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one queue"):
        Shares({})


def test_queues_are_read_with_and_without_weights() -> None:
    assert read_queues("critical=6, default=3,low", separator="=", field="-q") == {
        "critical": 6,
        "default": 3,
        "low": 1,
    }
    assert read_queues("critical:6,default:3,low:1", separator=":", field="JQ_QUEUES")["critical"] == 6


@pytest.mark.parametrize("text", ["", " , ", "a=0", "a=1001", "a=x", "a=", "=3", "a=1,a=2", "a=1.5", "a=-1", "a=٣"])
def test_queues_that_cannot_be_read_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^-q: got "):
        read_queues(text, separator="=", field="-q")
