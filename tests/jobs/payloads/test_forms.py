"""A value of an annotated type comes back as it was, through every codec; one of another type is refused where it is."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.payloads.codec import codec_named
from ropeline.jobs.payloads.forms import Forms
from ropeline.jobs.payloads.values import Unfit
from ropeline.lua.errors import ConfigurationError

T = TypeVar("T")
OrderId = NewType("OrderId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


class Options(TypedDict):
    at: datetime
    note: NotRequired[str]


class Postponed(TypedDict, total=False):
    at: "datetime"
    id: "UUID"


@dataclass(frozen=True)
class Line:
    product: str
    price: Decimal
    tags: set[str] = field(default_factory=set)
    size: int = field(init=False, default=7)


@dataclass
class Order:
    id: UUID
    lines: list[Line]
    parent: "Order | None" = None

    def __post_init__(self) -> None:
        if not self.lines:
            raise ValueError("an order has lines")


@dataclass(frozen=True)
class SpecialLine(Line):
    extra: int = 0


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Volatile:
    secret: InitVar[str]


class Address(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=10)
    since: datetime | None = None
    ratio: float = 0.0


@pydantic.dataclasses.dataclass
class Parcel:
    weight: int = pydantic.Field(gt=0)


LINE = Line("pen", Decimal("1.10"), {"a", "b"})
ID = UUID(int=7)
NOW = datetime(2026, 7, 1, 12, 30, 1, 5, tzinfo=UTC)

VALUES: list[tuple[Any, object]] = [
    (int, 2**63),
    (int, True),
    (float, 1.5),
    (float, 3),
    (str, "é"),
    (bool, False),
    (None, None),
    (Any, {"a": [1, 2.5, None, {"b": "c"}]}),
    (object, [1]),
    (bytes, bytes(range(256))),
    (datetime, NOW),
    (datetime, NOW.replace(tzinfo=None)),
    (datetime, NOW.astimezone(timezone(timedelta(hours=-3, minutes=-30)))),
    (date, date(2026, 7, 1)),
    (time, time(12, 30, 0, 1)),
    (timedelta, timedelta(days=-1, microseconds=3)),
    (timedelta, timedelta(days=3_650, microseconds=3)),
    (UUID, ID),
    (Decimal, Decimal("0.1000000000000000000000000000000000001")),
    (Decimal, Decimal("-1E+30")),
    (OrderId, OrderId(3)),
    (Annotated[int, "something"], 3),
    (T, [1]),
    (Colour, Colour.BLUE),
    (Level, Level.LOW),
    (Word, Word.YES),
    (Literal["a", 1], 1),
    (Literal[Colour.RED], Colour.RED),
    (list[int], [1, 2]),
    (list, [1, "a"]),
    (Sequence[UUID], [ID]),
    (Sequence[int], []),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple, (1, "a")),
    (set[date], {date(2026, 1, 1), date(2026, 1, 2)}),
    (frozenset[int], frozenset({1, 2})),
    (dict[str, Decimal], {"a": Decimal(1)}),
    (dict[int, str], {1: "a", -2: "b"}),
    (dict[UUID, int], {ID: 1}),
    (dict[Colour, int], {Colour.RED: 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (Mapping[str, list[bytes]], {"a": [b"x"]}),
    (dict, {"a": 1}),
    (int | None, None),
    (Optional[UUID], ID),  # noqa: UP045 - the older spelling
    (int | str, "a"),
    (datetime | None, NOW),
    (datetime | int, 5),
    (datetime | str, NOW),
    (datetime | str, NOW.isoformat()),
    (UUID | Decimal | None, Decimal(5)),
    (UUID | Decimal | None, None),
    (Line | Point, Point(1)),
    (list[int] | list[str], ["a"]),
    (bytes | str, b"x"),
    (date | datetime, NOW),
    (Point, Point(1, Decimal("2.5"))),
    (Options, {"at": NOW}),
    (Options, {"at": NOW, "note": "x"}),
    (Postponed, {}),
    (Postponed, {"id": ID}),
    (Line, LINE),
    (Order, Order(ID, [LINE], Order(ID, [LINE]))),
    (Box[int], Box("x")),
    (Address, Address(city="Bonn", since=NOW)),
    (list[Address], [Address(city="Bonn")]),
    (Address | None, Address(city="Bonn")),
    (Parcel, Parcel(weight=3)),
]


def sent(annotation: Any, value: object, name: str = "json") -> object:
    codec = codec_named("codec", name)
    form = Forms(keeps_bytes=codec.keeps_bytes).of("x", annotation)
    return form.load(codec.decode(codec.encode(form.dump(value))))


@pytest.mark.parametrize("codec", ["json", "msgpack"])
# Not by the values: a set shows its members in another order in each process.
@pytest.mark.parametrize(
    ("annotation", "value"), VALUES, ids=[f"{place}-{annotation!r:.40}" for place, (annotation, _) in enumerate(VALUES)]
)
def test_a_value_comes_back_as_it_was(annotation: Any, value: object, codec: str) -> None:
    back = sent(annotation, value, codec)
    assert back == value
    assert type(back) is type(value)


def test_a_tuple_is_a_sequence_and_arrives_as_a_list() -> None:
    assert sent(Sequence[int], (1, 2)) == [1, 2]


def test_a_time_zone_comes_back_as_its_offset() -> None:
    back = sent(datetime, NOW.astimezone(timezone(timedelta(hours=2), "MESZ")))
    assert isinstance(back, datetime)
    assert back.utcoffset() == timedelta(hours=2)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), st.datetimes(timezones=st.timezones()))
def test_numbers_and_moments_come_back_exactly(number: float, moment: datetime) -> None:
    assert repr(sent(float, number)) == repr(number)
    back = sent(datetime, moment)
    assert isinstance(back, datetime)
    # Compared in one zone: of a wall time that occurs twice, Python holds that it equals none of another zone.
    assert back.astimezone(UTC) == moment.astimezone(UTC)
    assert back.replace(tzinfo=None, fold=0) == moment.replace(tzinfo=None, fold=0)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(str, Word.YES), (int, Level.LOW), (float, type("F", (float,), {})(1.5)), (str, type("S", (str,), {})("a"))],
)
def test_a_subclass_that_a_type_checker_accepts_arrives_as_what_was_annotated(annotation: type, value: object) -> None:
    back = sent(annotation, value)
    assert back == value
    assert type(back) is annotation


WRONG: list[tuple[Any, object, str, str]] = [
    (int, "17", "", "int"),
    (int, 1.0, "", "int"),
    (int, None, "", "int"),
    (float, "1", "", "float"),
    (str, b"a", "", "str"),
    (str, 1, "", "str"),
    (bool, 1, "", "bool"),
    (None, 0, "", "None"),
    (bytes, "a", "", "bytes"),
    (datetime, "2026-01-01", "", "datetime"),
    (datetime, date(2026, 1, 1), "", "datetime"),
    (date, NOW, "", "date"),
    (Decimal, 1.5, "", "Decimal"),
    (timedelta, 5, "", "timedelta"),
    (UUID, str(ID), "", "UUID"),
    (Colour, "red", "", "Colour"),
    (Literal["a"], "b", "", "Literal['a']"),
    (Literal[1], True, "", "Literal[1]"),
    (list[int], (1,), "", "list[int]"),
    (list[int], "12", "", "list[int]"),
    (Sequence[str], "ab", "", "collections.abc.Sequence[str]"),
    (list[int], [1, "2"], "[1]", "int"),
    (tuple[int, str], (1,), "", "tuple[int, str]"),
    (tuple[int, str], [1, "a"], "", "tuple[int, str]"),
    (set[int], [1], "", "set[int]"),
    (dict[str, int], {"a": "b"}, "['a']", "int"),
    (dict[str, int], {1: 1}, "[1]", "str"),
    (dict[int, int], {"1": 1}, "['1']", "int"),
    (dict[str, int], [("a", 1)], "", "dict[str, int]"),
    (int | None, "1", "", "int | None"),
    (datetime | str, 5, "", "datetime | str"),
    (Line, {"product": "pen"}, "", "Line"),
    (Line, SpecialLine("pen", Decimal(1)), "", "Line"),
    (Order, Order(ID, [Line("pen", 1.5)]), ".lines[0].price", "Decimal"),  # type: ignore[arg-type]  # what is refused
    (Options, {}, "", "Options with 'at'"),
    (Options, {"at": NOW, "more": 1}, "", "Options without 'more'"),
    (Options, {"at": 5}, ".at", "datetime"),
    (Point, (1, Decimal(1)), "", "Point"),
    (Address, {"city": "Bonn"}, "", "Address"),
    (Any, (1, 2), "", "None, bool, int"),
    (Any, [{"a": {1}}], "[0]['a']", "None, bool, int"),
    (Any, {1: 1}, "", "text as the key"),
    (Any, Colour.RED, "", "None, bool, int"),
    (Any, Word.YES, "", "None, bool, int"),
    (Any, b"x", "", "None, bool, int"),
    (Any, NOW, "", "None, bool, int"),
]


@pytest.mark.parametrize(("annotation", "value", "path", "expected"), WRONG, ids=lambda part: repr(part)[:40])
def test_a_value_of_another_type_is_refused_where_it_is(
    annotation: Any, value: object, path: str, expected: str
) -> None:
    form = Forms(keeps_bytes=False).of("x", annotation)
    with pytest.raises(Unfit) as caught:
        form.dump(value)
    assert "".join(reversed(caught.value.path)) == path
    assert caught.value.expected.startswith(expected)
    assert caught.value.is_type


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("annotation", [float, Any, list[float], Decimal, float | None, dict[str, float], Address])
def test_nan_and_infinity_are_refused_wherever_they_are(annotation: Any, wrong: float) -> None:
    value: object = {
        list[float]: [1.0, wrong],
        Decimal: Decimal(wrong),
        dict[str, float]: {"a": wrong},
        Address: Address(city="Bonn", ratio=wrong),
    }.get(annotation, wrong)
    for keeps_bytes in (False, True):
        with pytest.raises(Unfit, match="a finite number") as caught:
            Forms(keeps_bytes=keeps_bytes).of("x", annotation).dump(value)
        assert not caught.value.is_type


UNREADABLE: list[tuple[Any, object]] = [
    (int, "1"),
    (int, 1.5),
    (float, "1"),
    (float, math.inf),
    (str, 1),
    (None, 0),
    (bytes, "not base 64"),
    (bytes, 5),
    (datetime, "yesterday"),
    (datetime, 5),
    (timedelta, 10**30),
    (timedelta, "1"),
    (UUID, "x"),
    (Decimal, "x"),
    (Decimal, "NaN"),
    (Colour, "green"),
    (Colour, [1]),
    (Literal["a"], "b"),
    (list[int], {"a": 1}),
    (list[int], ["a"]),
    (tuple[int, str], [1]),
    (dict[int, int], {"a": 1}),
    (dict[str, int], []),
    (int | None, "a"),
    (datetime | str, "a"),
    (datetime | str, ["int", 5]),
    (datetime | str, ["datetime", 5]),
    (Line, {"product": "pen"}),
    (Line, {"product": "pen", "price": "1", "colour": "red"}),
    (Line, []),
    (Order, {"id": str(ID), "lines": []}),
    (Options, {"note": "x"}),
    (Options, []),
    (Address, {"city": "x" * 11}),
    (Parcel, {"weight": 0}),
]


@pytest.mark.parametrize(("annotation", "data"), UNREADABLE, ids=lambda part: repr(part)[:40])
def test_data_that_does_not_fit_the_annotation_is_refused(annotation: Any, data: object) -> None:
    with pytest.raises(Unfit):
        Forms(keeps_bytes=False).of("x", annotation).load(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_data_is_read_or_refused_by_every_form(data: object) -> None:
    """A worker meets what another version, or somebody else, has written."""
    forms = Forms(keeps_bytes=False)
    for annotation, _ in VALUES:
        try:
            forms.of("x", annotation).load(data)
        except Unfit:
            continue


def test_a_model_that_was_changed_after_it_was_made_is_validated_again() -> None:
    address = Address(city="Bonn")
    address.city = "x" * 11
    with pytest.raises(Unfit, match=r"a valid Address: .*at most 10 characters"):
        Forms(keeps_bytes=False).of("x", Address).dump(address)


def test_what_a_class_says_against_its_fields_is_passed_on() -> None:
    with pytest.raises(Unfit, match="a valid Order: an order has lines"):
        Forms(keeps_bytes=False).of("x", Order).load({"id": str(ID), "lines": []})


def test_a_field_that_an_older_program_did_not_send_has_its_default() -> None:
    assert Forms(keeps_bytes=False).of("x", Line).load({"product": "pen", "price": "1.10"}) == Line(
        "pen", Decimal("1.1")
    )


def test_the_same_set_is_the_same_data_in_every_process() -> None:
    form = Forms(keeps_bytes=False).of("x", set[str])
    words = {f"word {number}" for number in range(50)}
    assert form.dump(words) == sorted(words, key=repr)


@pytest.mark.parametrize(
    "annotation",
    [
        complex,
        type,
        Volatile,
        dict[tuple[int, int], str],
        list[complex],
        Enum("Odd", {"A": (1, 2)}),
        json.JSONEncoder,
        5,
    ],
)
def test_an_annotation_that_cannot_travel_is_refused_by_its_field(annotation: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^task t: x: got "):
        Forms(keeps_bytes=False).of("task t: x", annotation)


def test_two_members_of_a_union_that_have_one_name_are_refused() -> None:
    other = type("Line", (), {"__annotations__": {"product": str}})
    with pytest.raises(ConfigurationError, match="with different names"):
        Forms(keeps_bytes=False).of("x", Line | dataclass(other))
