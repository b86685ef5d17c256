"""Options without sense are refused by their name before anything is written; `using` changes a copy."""

import math
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from ropeline.jobs.app import Jobs
from ropeline.jobs.backoff import Exponential, Fixed
from ropeline.jobs.options import CallOptions, TaskOptions, Unique, check_metadata
from ropeline.lua.errors import ConfigurationError


def options(**given: Any) -> TaskOptions:
    """What a task with these options has."""

    def nothing() -> None: ...

    task: Any = Jobs("memory://").task(**given)(nothing)
    checked: TaskOptions = task.options
    return checked


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert options() == TaskOptions(
        queue="default",
        max_attempts=5,
        backoff=Exponential(1.0, 3600.0),
        timeout=300_000,
        grace=30_000,
        deadline=None,
        priority=5,
        unique=None,
        limit=None,
        retry_on=(Exception,),
        give_up_on=(),
        result_ttl=0,
        max_lost=3,
    )


def test_times_are_seconds_or_timedeltas_and_kept_in_ms() -> None:
    made = options(timeout=timedelta(minutes=2), grace=0.5, deadline=60, result_ttl=timedelta(days=1), backoff=2)
    assert (made.timeout, made.grace, made.deadline, made.result_ttl) == (120_000, 500, 60_000, 86_400_000)
    assert made.backoff == Fixed(2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queue", "a:b"),
        ("queue", ""),
        ("queue", 5),
        ("name", "a b"),
        ("name", ""),
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_attempts", True),
        ("max_attempts", 10_001),
        ("backoff", -1),
        ("backoff", "1"),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", None),
        ("timeout", timedelta(days=8)),
        ("grace", -0.1),
        ("deadline", 0),
        ("deadline", math.inf),
        ("priority", -1),
        ("priority", 10),
        ("priority", 5.0),
        ("unique", True),
        ("unique", ("tenant",)),
        ("retry_on", ValueError("x")),
        ("retry_on", (ValueError, "x")),
        ("give_up_on", int),
        ("result_ttl", -1),
        ("max_lost", 0),
        ("max_lost", 101),
    ],
)
def test_an_option_of_a_task_without_sense_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queue_name", "a{b}"),
        ("queue_name", None),
        ("priority", 10),
        ("run_after", -1),
        ("run_after", math.nan),
        ("run_after", timedelta(seconds=-1)),
        ("run_after", datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
        ("run_after", "tomorrow"),
        ("unique", "tenant"),
        ("metadata", None),
        ("metadata", ["client"]),
        ("job_id", "order-17"),
        ("max_attempts", 0),
        ("timeout", 0),
        ("grace", -1),
        ("deadline", 0),
        ("deadline", datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
        ("result_ttl", math.inf),
    ],
)
def test_an_option_of_a_call_without_sense_is_refused_by_its_name(field: str, value: object) -> None:
    given: Any = {field: value}
    with pytest.raises(ConfigurationError) as caught:
        CallOptions().using(**given)
    assert caught.value.field == field


def test_using_changes_a_copy_and_keeps_what_was_not_given() -> None:
    first = CallOptions().using(queue_name="mail", priority=9, metadata={"client": "acme"})
    second = first.using(priority=1, metadata={"project": "x"}, job_id=UUID(int=7))
    assert (first.queue, first.priority, first.metadata, first.id) == ("mail", 9, {"client": "acme"}, None)
    assert (second.queue, second.priority, second.id) == ("mail", 1, UUID(int=7).bytes)
    assert second.metadata == {"client": "acme", "project": "x"}
    assert second.using(job_id=None).id is None


def test_a_job_may_run_from_a_moment_or_after_a_time_and_the_last_word_counts() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    at, after = CallOptions().using(run_after=moment), CallOptions().using(run_after=1.5)
    assert (at.due, at.delay) == (1_893_456_000_000, 0)
    assert (after.due, after.delay) == (0, 1_500)
    both = at.using(run_after=timedelta(minutes=1))
    assert (both.due, both.delay) == (0, 60_000)
    none = both.using(run_after=None)
    assert (none.due, none.delay) == (0, 0)


def test_a_deadline_is_a_moment_or_a_time_and_the_last_word_counts() -> None:
    at = CallOptions().using(deadline=datetime(2030, 1, 1, tzinfo=UTC))
    after = at.using(deadline=60)
    assert (at.deadline, at.deadline_at) == (None, 1_893_456_000_000)
    assert (after.deadline, after.deadline_at) == (60_000, None)


def test_metadata_is_text_to_text_and_at_most_a_kibibyte() -> None:
    assert check_metadata({"client": "é" * 509}) == {"client": "é" * 509}
    for wrong, message in [
        ({"client": "é" * 510}, "metadata: got '1026 bytes', expected at most 1024 bytes"),
        ({"client": 5}, "metadata['client']: got 5, expected text"),
        ({5: "x"}, "metadata[5]: got 5, expected text"),
        ({"": "x"}, "metadata: got '', expected names that are not empty"),
        ({"client": "\ud800"}, "metadata['client']: got '\\ud800', expected text without lone surrogates"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            check_metadata(wrong)
        assert str(caught.value).startswith(message)


def test_metadata_cannot_be_changed_after_it_was_checked() -> None:
    given = {"client": "acme"}
    checked = check_metadata(given)
    given["client"] = "globex"
    assert checked == {"client": "acme"}
    assert isinstance(checked, MappingProxyType)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"by": "tenant"}, "unique.by"),
        ({"by": (1,)}, "unique.by"),
        ({"by": None}, "unique.by"),
        ({"by": ("tenant",), "key": str}, "unique.key"),
        ({"key": "tenant"}, "unique.key"),
        ({"for_": 0}, "unique.for_"),
        ({"for_": -1}, "unique.for_"),
        ({"for_": math.nan}, "unique.for_"),
        ({"until": "end"}, "unique.until"),
        ({"on_conflict": "replace"}, "unique.on_conflict"),
    ],
)
def test_a_unique_without_sense_is_refused_by_its_field(given: Any, field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Unique(**given)
    assert caught.value.field == field


def test_an_error_is_retried_unless_it_is_one_to_give_up_on() -> None:
    made = options(retry_on=(OSError, ValueError), give_up_on=FileNotFoundError)
    retried = [ConnectionError(), ValueError(), FileNotFoundError(), KeyError()]
    assert [made.retries(error) for error in retried] == [True, True, False, False]
    assert options().retries(KeyError())
    assert not options().retries(KeyboardInterrupt())
