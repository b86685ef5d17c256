"""Arguments reach a handler as they were given, or are refused by their name; a worker of another version reads what it can."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.context import JobContext
from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.arguments import Arguments
from ropeline.jobs.payloads.codec import codec_named
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from uuid import UUID

    from ropeline.jobs import context

JOB = JobContext(id="00" * 16, task="t", queue="default")
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def of(function: Callable[..., object], codec: str = "json") -> Arguments:
    return Arguments("shop:confirm", function, codec_named("codec", codec))


def sent(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:
    """What `function` returns at a worker that reads the payload of these arguments."""
    arguments = of(function)
    positional, named = arguments.call(arguments.load(arguments.dump(arguments.bind(args, kwargs)), 1), JOB)
    return function(*positional, **named)


def plain(order: int, at: datetime, note: str = "none") -> object:
    return order, at, note


def every_kind(a: int, /, b: str, *rest: Decimal, c: bool = False, **more: datetime) -> object:
    return a, b, rest, c, more


def context_first(job: JobContext, order: int) -> object:
    return job, order


def context_between(order: int, job: JobContext, note: str = "") -> object:
    return order, job, note


def context_by_keyword(order: int, *, job: JobContext | None = None) -> object:
    return order, job


def context_after_positional_only(order: int, job: JobContext, /) -> object:
    return order, job


def context_for_type_checkers(order: int, job: context.JobContext) -> object:
    return order, job


def unknown_name(order: int, id: UUID) -> object:
    return order, id


def later(line: Line) -> object:
    return line


@dataclass
class Line:
    price: Decimal
    parent: Line | None = None


def test_arguments_arrive_as_they_were_given_however_they_were_given() -> None:
    assert sent(plain, 17, NOW) == (17, NOW, "none")
    assert sent(plain, 17, at=NOW, note="x") == (17, NOW, "x")
    assert sent(plain, note="x", order=17, at=NOW) == (17, NOW, "x")


def test_every_kind_of_parameter_can_be_sent() -> None:
    assert sent(every_kind, 1, "b") == (1, "b", (), False, {})
    assert sent(every_kind, 1, "b", Decimal(1), Decimal(2), c=True, d=NOW) == (
        1,
        "b",
        (Decimal(1), Decimal(2)),
        True,
        {"d": NOW},
    )
    assert sent(every_kind, 1, b="b", a=NOW) == (1, "b", (), False, {"a": NOW})


def test_what_was_left_to_its_default_is_not_sent() -> None:
    assert of(plain).dump(of(plain).bind((17, NOW), {})) == b'{"order":17,"at":"2026-07-01T00:00:00+00:00"}'


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "shop:confirm: missing a required argument: 'order'"),
        ((17,), {}, "shop:confirm: missing a required argument: 'at'"),
        ((17, NOW, "x", 4), {}, "shop:confirm: too many positional arguments"),
        ((17, NOW), {"order": 17}, "shop:confirm: multiple values for argument 'order'"),
        ((17, NOW), {"note_": "x"}, "shop:confirm: got an unexpected keyword argument 'note_'"),
    ],
)
def test_a_call_that_does_not_fit_is_a_type_error(args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        of(plain).bind(args, kwargs)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("17", NOW), "shop:confirm: order: got '17', expected int"),
        ((17, "now"), "shop:confirm: at: got 'now', expected datetime"),
        ((17, NOW, None), "shop:confirm: note: got None, expected str"),
    ],
)
def test_an_argument_of_another_type_is_a_type_error_that_names_it(args: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        of(plain).dump(of(plain).bind(args, {}))
    assert str(caught.value) == message


def test_an_error_says_where_inside_of_an_argument_it_is() -> None:
    line: Any = Line(Decimal(1), Line(1.5))  # type: ignore[arg-type]  # what is refused
    with pytest.raises(TypeError, match=r"^shop:confirm: line\.parent\.price: got 1\.5, expected Decimal$"):
        of(later).dump({"line": line})


def anything(price: Any, items: list[Any]) -> None: ...


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("price", "items", "message"),
    [
        (math.nan, [], "shop:confirm: price: got nan, expected a finite number"),
        (1, [{"a": math.inf}], "shop:confirm: items[0]['a']: got inf, expected a finite number"),
        (1, ["\ud800"], "shop:confirm: items: got ['\\ud800'], expected text without lone surrogates"),
    ],
)
def test_a_value_that_cannot_travel_is_refused_by_its_name(codec: str, price: Any, items: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        of(anything, codec).dump({"price": price, "items": items})
    assert str(caught.value) == message


def test_a_number_that_a_codec_cannot_write_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"shop:confirm: price: got 18446744073709551616, .*at most 64 bits"):
        of(anything, "msgpack").dump({"price": 2**64, "items": []})
    with pytest.raises(ConfigurationError, match=r"shop:confirm: price: got '\(int that cannot be shown\)'"):
        of(anything).dump({"price": 10**5000, "items": []})


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_data_that_contains_itself_is_refused_by_its_name(codec: str) -> None:
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(ConfigurationError, match="shop:confirm: items: got"):
        of(anything, codec).dump({"price": 1, "items": knot})


@given(st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
def test_every_digit_and_character_survives(order: int, note: str) -> None:
    assert sent(plain, order, NOW, note) == (order, NOW, note)


@pytest.mark.parametrize(
    "function",
    [
        context_between,
        context_by_keyword,
        context_after_positional_only,
        context_for_type_checkers,
    ],
)
def test_the_context_is_filled_wherever_it_stands_and_is_no_argument(function: Callable[..., Any]) -> None:
    assert sent(function, 17)[:2] == (17, JOB)
    arguments = of(function)
    assert arguments.context_name == "job"
    assert "job" not in arguments.signature.parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'job'"):
        arguments.bind((17,), {"job": JOB})


def test_the_context_may_be_the_first_parameter() -> None:
    assert sent(context_first, 17) == (JOB, 17)
    with pytest.raises(TypeError, match="too many positional arguments"):
        of(context_first).bind((JOB, 17), {})


def test_a_parameter_that_is_called_job_but_is_none_is_an_argument() -> None:
    def function(job: int, context: str) -> object:
        return job, context

    assert of(function).context_name == ""
    assert sent(function, 1, "x") == (1, "x")


def test_two_contexts_are_refused() -> None:
    def function(one: JobContext, two: JobContext) -> None: ...

    with pytest.raises(ConfigurationError, match="task shop:confirm: two: got 'JobContext', expected at most one"):
        of(function)


def test_an_annotation_that_cannot_travel_is_refused_at_the_definition() -> None:
    def function(connection: type) -> None: ...

    with pytest.raises(ConfigurationError, match=r"task shop:confirm: connection: got <class 'type'>, expected a type"):
        of(function)


def test_an_annotation_may_name_what_is_defined_further_down() -> None:
    namespace: dict[str, Any] = {"dataclass": dataclass}
    exec("def function(line: 'Later') -> 'Later': return line", namespace)
    arguments = of(namespace["function"])
    exec("@dataclass\nclass Later:\n    price: int", namespace)
    value = namespace["Later"](5)
    assert arguments.load(arguments.dump({"line": value}), 1) == {"line": value}
    assert arguments.load_result(arguments.dump_result(value)) == value


def test_an_annotation_that_names_nothing_is_refused_when_it_is_used() -> None:
    arguments = of(unknown_name)
    with pytest.raises(ConfigurationError, match=r"task shop:confirm: id: got 'UUID', expected a type that the"):
        arguments.dump({"order": 1, "id": 2})


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "shop:confirm: not JSON"),
        (b"17", "shop:confirm: got 17, expected arguments by name, or a list of them in order"),
        (b"[17]", "shop:confirm: got arguments without at, expected ("),
        (b'[17,"2026-07-01","x","more"]', "shop:confirm: got [17, '2026-07-01', 'x', 'more'], expected ("),
        (b'["17","2026-07-01"]', "shop:confirm: order: got '17', expected int"),
        (b"{}", "shop:confirm: got arguments without at, order, expected ("),
        (b'{"order":17}', "shop:confirm: got arguments without at, expected ("),
        (b'{"order":17,"at":"2026-07-01","more":1}', "shop:confirm: got arguments with more, expected ("),
        (b'{"order":"17","at":"2026-07-01"}', "shop:confirm: order: got '17', expected int"),
        (b'{"order":17,"at":"x"}', "shop:confirm: at: got 'x', expected datetime as text"),
    ],
)
def test_a_payload_that_does_not_fit_the_task_is_undecodable(payload: bytes, message: str) -> None:
    with pytest.raises(Undecodable) as caught:
        of(plain).load(payload, 1)
    assert str(caught.value).startswith(message)


def test_a_list_of_arguments_in_order_is_read_too() -> None:
    assert of(plain).load(b'[17,"2026-07-01T00:00:00"]', 1) == {"order": 17, "at": datetime(2026, 7, 1)}  # noqa: DTZ001
    assert of(every_kind).load(b'[1,"b","2","3"]', 1) == {"a": 1, "b": "b", "rest": (Decimal(2), Decimal(3))}
    assert of(every_kind).load(b'[1,"b"]', 1) == {"a": 1, "b": "b"}


@given(st.binary(), st.integers(0, 5))
def test_any_payload_is_arguments_or_undecodable(payload: bytes, codec: int) -> None:
    with pytest.raises(Undecodable):
        of(plain).load(payload, codec)


def test_a_worker_reads_the_payload_of_another_version_of_the_task() -> None:
    def newer(note: str, order: int, colour: str = "red") -> None: ...

    def older(order: int, note: str = "") -> None: ...

    assert of(newer).load(of(older).dump({"order": 1, "note": "x"}), 1) == {"order": 1, "note": "x"}


def test_a_worker_reads_every_codec_whatever_its_own_is() -> None:
    for writer, number in (("json", 1), ("msgpack", 2)):
        for reader in ("json", "msgpack"):
            payload = of(every_kind, writer).dump({"a": 1, "b": "x"})
            assert of(every_kind, reader).load(payload, number) == {"a": 1, "b": "x"}


def test_an_error_in_a_log_is_short() -> None:
    with pytest.raises(TypeError) as caught:
        of(plain).dump({"order": "x" * 10_000, "at": NOW})
    assert len(str(caught.value)) < 300


# Results


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_a_result_comes_back_with_its_type(codec: str) -> None:
    def function() -> list[Line]: ...  # type: ignore[empty-body]  # never called

    arguments = of(function, codec)
    data = arguments.dump_result([Line(Decimal("1.10"))])
    assert data[0] == {"json": 1, "msgpack": 2}[codec]
    assert arguments.load_result(data) == [Line(Decimal("1.10"))]
    assert of(function).load_result(data) == [Line(Decimal("1.10"))]
    with pytest.raises(TypeError, match="shop:confirm: return: got 5, expected list"):
        arguments.dump_result(5)


def test_a_result_that_does_not_fit_is_undecodable() -> None:
    def function() -> int: ...  # type: ignore[empty-body]  # never called

    for data in (b"", b"\x01", b"\x01{", b'\x01"a"', b"\x09", b"\x03abc"):
        with pytest.raises(Undecodable):
            of(function).load_result(data)


def test_what_a_task_returns_is_looked_at_only_when_it_is_kept() -> None:
    def function() -> type: ...  # type: ignore[empty-body]  # never called

    arguments = of(function)
    assert arguments.dump({}) == b"{}"
    with pytest.raises(ConfigurationError, match="task shop:confirm: return: got"):
        arguments.dump_result(int)


# Protocol buffers


def with_message(settings: Struct, job: JobContext) -> StringValue: ...


def test_a_message_travels_as_itself() -> None:
    arguments = of(with_message, "protobuf")
    settings = Struct()
    settings.update({"a": 1, "b": ["c"]})
    payload = arguments.dump(arguments.bind((settings,), {}))
    assert payload == settings.SerializeToString(deterministic=True)
    assert arguments.load(payload, 3) == {"settings": settings}
    assert arguments.load_result(arguments.dump_result(StringValue(value="x"))) == StringValue(value="x")


def test_a_message_of_another_class_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"(?s)shop:confirm: settings: got .*, expected Struct"):
        of(with_message, "protobuf").dump({"settings": Int64Value(value=1)})


def test_bytes_that_are_no_message_and_another_codec_are_undecodable() -> None:
    with pytest.raises(Undecodable, match=r"(?s)shop:confirm: settings: got .*, expected Struct"):
        of(with_message, "protobuf").load(b"\xff\xff", 3)
    with pytest.raises(Undecodable, match="got arguments in json, expected protobuf"):
        of(with_message, "protobuf").load(b"{}", 1)
    with pytest.raises(Undecodable, match="got arguments in protobuf, expected json"):
        of(plain).load(b"", 3)


@pytest.mark.parametrize("function", [plain, lambda: None, lambda message: None])
def test_a_task_of_protocol_buffers_takes_one_message(function: Callable[..., object]) -> None:
    with pytest.raises(ConfigurationError, match="expected exactly one parameter, annotated with a message class"):
        of(function, "protobuf")


def test_a_task_of_protocol_buffers_may_return_anything_else_in_json() -> None:
    def function(message: Int64Value) -> int: ...  # type: ignore[empty-body]  # never called

    arguments = of(function, "protobuf")
    assert arguments.dump_result(5) == b"\x015"
    assert arguments.load_result(b"\x015") == 5


# What makes two jobs the same


def of_tenant(tenant: str, order: int = 0, tags: set[str] | None = None, mode: Literal["a", "b"] = "a") -> None: ...


def test_the_same_arguments_have_the_same_fingerprint_however_they_were_given() -> None:
    arguments = of(of_tenant)
    same = {
        arguments.fingerprint(arguments.bind(args, kwargs), ())
        for args, kwargs in [
            (("acme",), {}),
            (("acme", 0), {}),
            ((), {"order": 0, "tenant": "acme"}),
            (("acme", 0, None, "a"), {}),
        ]
    }
    assert len(same) == 1
    assert len(same.pop()) == 16
    assert arguments.fingerprint({"tenant": "acme"}, ()) != arguments.fingerprint({"tenant": "acme", "order": 1}, ())


def test_the_named_arguments_alone_decide() -> None:
    arguments = of(of_tenant)
    one, other = ({"tenant": "acme", "order": order} for order in (1, 2))
    assert arguments.fingerprint(one, ("tenant",)) == arguments.fingerprint(other, ("tenant",))
    assert arguments.fingerprint(one, ("tenant", "order")) != arguments.fingerprint(other, ("tenant", "order"))


def test_the_codec_makes_no_difference_to_a_fingerprint() -> None:
    values = {"tenant": "acme", "tags": {"x", "y"}}
    assert of(of_tenant).fingerprint(values, ()) == of(of_tenant, "msgpack").fingerprint(values, ())


def test_fingerprints_stay_what_they_are_over_versions() -> None:
    """A job that was enqueued before an upgrade holds its key after it."""
    assert of(of_tenant).fingerprint({"tenant": "acme"}, ("tenant",)).hex() == "edb1d78113f3a88da64ea4a59637a094"


def test_only_parameters_can_be_named() -> None:
    with pytest.raises(
        ConfigurationError, match="unique: got 'tenat', expected a parameter of shop:confirm: mode, order"
    ):
        of(of_tenant).check_names("unique", ("tenant", "tenat"))
