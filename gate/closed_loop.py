"""Holds what an operator sets for a tenant's closed loop: the gate measures the site and moves the quota that is in force.

Additive increase, multiplicative decrease, as TCP does with its congestion window (RFC 5681), within `lowest` and the quota
that is set; as there (RFC 7661), the quota in force does not rise while nobody is held back by it.
"""

from dataclasses import dataclass, field

from ropeline.gate.fields import Flag, Integer, Number, check_fields, described


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """By which rules the quota in force follows what the site can carry. It never exceeds `total_active_users`."""

    enabled: bool = field(
        default=False,
        metadata=described(
            Flag(), "True lets the quota in force follow how the site answers. It begins at `lowest`, or at who is in."
        ),
    )
    lowest: int = field(
        default=10,
        metadata=described(
            Integer(1, 10_000_000),
            "The lower bound of the quota in force; the upper one is `total_active_users`, which also goes before.",
            "visitors",
        ),
    )
    latency: float = field(
        default=1,
        metadata=described(
            Number(0.001, 600), "The target: longest that the site may take to begin its answer.", "seconds"
        ),
    )
    percentile: float = field(
        default=95, metadata=described(Number(1, 99.9), "How many of the calls have to be that quick.", "percent")
    )
    error_share: float = field(
        default=5,
        metadata=described(
            Number(0, 100),
            "Most of the calls that may fail: answered with a status from 500 on, or not at all.",
            "percent",
        ),
    )
    step: int = field(
        default=5,
        metadata=described(
            Integer(1, 1_000_000),
            "How far up after an interval that went well, while visitors wait or the quota in force is used up.",
            "visitors",
        ),
    )
    factor: float = field(
        default=0.75,
        metadata=described(
            Number(0.1, 0.99), "By what the number of visitors on the site is multiplied after one that did not."
        ),
    )
    interval: float = field(
        default=10,
        metadata=described(
            Number(1, 3600), "Time between two decisions. One with fewer than 20 calls decides nothing.", "seconds"
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)
