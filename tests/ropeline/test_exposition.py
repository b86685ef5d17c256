"""What Prometheus reads: exact numbers, in its text format."""

import pytest

from ropeline.exposition import Family, Histogram, write_families, write_in_steps


def lines(*families: Family) -> list[str]:
    return write_families(families).decode().splitlines()


def test_a_histogram_counts_each_measurement_once_and_its_buckets_add_up() -> None:
    histogram = Histogram((0.005, 0.01, 0.5))
    for seconds in (0.0, 0.005, 0.0051, 0.3, 10_000.0, -1.0):
        histogram.observe(seconds)
    assert lines(Family("run_seconds", "histogram", "How long.", [({"task": "a"}, histogram)])) == [
        "# HELP run_seconds How long.",
        "# TYPE run_seconds histogram",
        'run_seconds_bucket{task="a",le="0.005"} 3',
        'run_seconds_bucket{task="a",le="0.01"} 4',
        'run_seconds_bucket{task="a",le="0.5"} 5',
        'run_seconds_bucket{task="a",le="+Inf"} 6',
        'run_seconds_sum{task="a"} 10000.3101',
        'run_seconds_count{task="a"} 6',
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [('a"b', r"a\"b"), ("a\\b", r"a\\b"), ("a\nb", r"a\nb"), ("order:confirm", "order:confirm")]
)
def test_the_value_of_a_label_cannot_break_out_of_it(value: str, shown: str) -> None:
    assert lines(Family("x", "counter", "X.", [({"task": value}, 1)]))[-1] == f'x{{task="{shown}"}} 1'


def test_a_long_text_is_written_in_pieces_of_bounded_length() -> None:
    families = [Family("x", "gauge", "X.", [({"n": str(number)}, number) for number in range(1234)])] * 2
    pieces = list(write_in_steps(families))
    assert [piece.count(b"\n") for piece in pieces] == [500, 500, 500, 500, 472]
    assert b"".join(pieces) == write_families(families)
