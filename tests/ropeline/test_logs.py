"""One event is one line whatever it contains, and no line carries a ticket, a cookie or a password."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.tickets import Ticket, TicketSigner, TicketState
from ropeline.logs import FORMAT_VARIABLE, LEVEL_VARIABLE, ConsoleFormatter, JsonFormatter, configure_logging, redact
from ropeline.lua.errors import ConfigurationError

TICKET = TicketSigner(["a-key-of-sixteen-bytes"]).sign(
    Ticket("acme", b"0123456789abcdef", TicketState.WAITING, 1_700_000_000_000_000, 0, 1_700_000_180_000, 1, 42, 0, 0)
)
SECRET = "hunter2-hunter2-hunter2"

anything = st.text(st.characters(exclude_categories=[]), max_size=80)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    failure = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("ropeline.gate", logging.WARNING, __file__, 1, message, arguments, failure)


def lines(environ: dict[str, str], *records: logging.LogRecord) -> list[str]:
    stream = io.StringIO()
    configure_logging(environ, stream)
    for one in records:
        logging.getLogger(one.name).handle(one)
    return stream.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("shape", ["console", "json"])
@given(message=anything, argument=anything, failure=anything)
def test_one_event_is_one_line_whatever_it_contains(shape: str, message: str, argument: str, failure: str) -> None:
    formatter = {"console": ConsoleFormatter, "json": JsonFormatter}[shape]()
    for one in (
        record(message),
        record("%s", argument),
        record(message, argument),
        record("failed", error=ValueError(failure)),
    ):
        line = formatter.format(one)
        assert len(line.splitlines()) == 1
        assert line.encode("utf-8").isascii() or shape == "console"
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


@given(anything, anything)
def test_json_tells_the_event_whole(message: str, failure: str) -> None:
    event = json.loads(JsonFormatter().format(record("%s", message, error=ValueError(failure))))
    assert set(event) == {"time", "level", "logger", "message", "exception"}
    assert (event["level"], event["logger"]) == ("warning", "ropeline.gate")
    assert event["message"] == redact(message)


def test_the_console_line_names_time_level_and_logger() -> None:
    (line,) = lines({}, record("tenant %s: the store answers again", "acme"))
    head, _, message = line.partition(": ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING  ropeline\.gate", head)
    assert message == "tenant acme: the store answers again"


def test_a_traceback_follows_on_the_line_of_its_event() -> None:
    with pytest.raises(KeyError) as failed:
        dict[str, str]()["first\nsecond"]
    (line,) = lines({}, record("failed", error=failed.value))
    assert ": failed | Traceback (most recent call last): | File " in line
    assert line.endswith(r"| KeyError: 'first\nsecond'")


def test_an_escape_sequence_of_a_visitor_reaches_no_terminal() -> None:
    (line,) = lines({}, record("path %s", "/\x1b[2J\x07\u202eevil"))
    assert line.endswith(r"path /\x1b[2J\x07\u202eevil")


def test_arguments_that_do_not_fit_lose_no_event() -> None:
    (line,) = lines({}, record("two %s %s", "one"))
    assert "'two %s %s' ('one',)" in line


def test_warnings_are_events_too() -> None:
    stream = io.StringIO()
    configure_logging({}, stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\nway", UserWarning, stacklevel=1)
    assert stream.getvalue().count("\n") == 1
    assert "UserWarning: old" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        TICKET,
        f"ticket {TICKET!r} refused",
        f"__Host-wr_acme={TICKET}",
        f"wr_acme={SECRET}; other=1",
        f"__Secure-wr_acme-2={SECRET}",
        f"Cookie: theme=dark; session={SECRET}",
        f'cookie: a="x"; session={SECRET}',
        f"set-cookie: session={SECRET}; Path=/",
        f"{{'cookie': 'theme=dark; session={SECRET}', 'host': 'shop'}}",
        f"[(b'host', b'shop'), (b'cookie', b'session={SECRET}')]",
        f'{{"Cookie": "a=\\"x\\"; session={SECRET}"}}',
        f"{{'cookie': 'cut short; session={SECRET}",
        f"Authorization: Basic {SECRET}==",
        f"authorization=Bearer {SECRET}",
        f"{{'authorization': 'Bearer {SECRET}'}}",
        f"sent Bearer {SECRET} to the site",
        f"Waiting-Room-Token: {SECRET}",
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        f"connecting to redis+sentinel://anna:p@ss/{SECRET}@a,b/acme?db=1",
        f"redis+sentinel://a/acme?sentinel_password={SECRET}",
        f"https://anna:{SECRET}@example.com/path",
        f"password={SECRET}",
    ],
)
@pytest.mark.parametrize("shape", ["console", "json"])
def test_no_secret_is_written(text: str, shape: str) -> None:
    error = ValueError(f"{text}\n{text}")
    written = "\n".join(
        lines(
            {FORMAT_VARIABLE: shape}, record("saw %s", text), record(text.replace("%", "%%")), record("x", error=error)
        )
    )
    assert SECRET not in written
    assert TICKET not in written
    assert TICKET.partition(".")[2] not in written
    assert "***" in written


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=30))
def test_a_secret_header_is_hidden_with_whatever_it_contains(around: str) -> None:
    assert SECRET not in redact(f"cookie: {around}{SECRET}")
    assert SECRET not in redact(repr({"cookie": f"{around}{SECRET}", "host": "shop"}))
    assert SECRET not in redact(repr([(b"authorization", f"{around}{SECRET}".encode())]))
    assert SECRET not in redact(json.dumps({"Set-Cookie": f"{around}{SECRET}"}))


@pytest.mark.parametrize(
    "text",
    [
        "tenant acme: no cookie, a new visitor",
        "GET https://shop.example.com/cart?mail=anna@example.com 200",
        "the store at redis://127.0.0.1:6379/0 answers again",
        "basic authentication is not supported",
        "visitor 3f2504e0-4f89-41d3-9a0c-0305e82c3301 joined, 12.5 ms",
        "/srv/shop/very-long-folder-name-without-any-secret-in-it/app.py",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("piece", ["redis://", "a", "a-", "cookie", "'cookie': '", "://:", "\\", "token="])
def test_a_line_of_any_length_is_short_and_quickly_written(piece: str) -> None:
    assert len(redact(piece * 1_000_000)) < 10_000


@pytest.mark.parametrize(
    ("environ", "count"),
    [({}, 1), ({LEVEL_VARIABLE: "ERROR"}, 0), ({LEVEL_VARIABLE: "debug"}, 1), ({LEVEL_VARIABLE: ""}, 1)],
)
def test_the_level_decides_what_is_written(environ: dict[str, str], count: int) -> None:
    stream = io.StringIO()
    configure_logging(environ, stream)
    logging.getLogger("ropeline.gate").warning("something")
    assert stream.getvalue().count("\n") == count


@pytest.mark.parametrize(
    ("variable", "value"), [(LEVEL_VARIABLE, "loud"), (LEVEL_VARIABLE, "10"), (FORMAT_VARIABLE, "xml")]
)
def test_a_wrong_variable_is_refused_by_name_and_changes_nothing(variable: str, value: str) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(ConfigurationError) as refused:
        configure_logging({variable: value})
    assert (refused.value.field, refused.value.value) == (variable, value)
    assert logging.getLogger().handlers == before
