"""What the commands log and how: one event is one line, and no line carries a ticket, a cookie or a password."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["FORMAT_VARIABLE", "LEVEL_VARIABLE", "ConsoleFormatter", "JsonFormatter", "configure_logging", "redact"]

LEVEL_VARIABLE: Final = "ROPELINE_LOG_LEVEL"
"""Lowest level that is written: debug, info (default), warning, error or critical."""
FORMAT_VARIABLE: Final = "ROPELINE_LOG_FORMAT"
"""console (default) for people, json for machines: an object a line with time, level, logger, message, exception."""

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_HIDDEN: Final = "***"
# A visitor chooses how long a path is; searching it for secrets takes time.
_LONGEST: Final = 8192

_GUARDED_HEADERS: Final = r"(?:set-)?cookie|(?:proxy-)?authorization|waiting-room-token"
_REDACTIONS: Final = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # A secret header as a pair of quoted texts, in a dict, in JSON or in a list of headers: up to its closing quote.
        (
            rf"(b?(['\"])(?:{_GUARDED_HEADERS})\2\s*[:,]\s*b?)(['\"])(?:\\.|(?!\3)[^\\\r\n])*\3?",
            rf"\1\3{_HIDDEN}\3",
        ),
        # A secret header as it travels: up to the end of its line.
        (rf"\b({_GUARDED_HEADERS})(\s*[:=]\s*)[^\r\n]*", rf"\1\2{_HIDDEN}"),
        # One of our cookies, wherever it stands.
        (r"((?:__(?:host|secure)-)?\bwr_[a-z0-9-]+=)[^\s;,'\"]+", rf"\1{_HIDDEN}"),
        # A ticket: two parts of URL-safe base64, the second one a signature.
        (r"(?<![a-z0-9_-])[a-z0-9_-]{40,}\.[a-z0-9_-]{20,}", _HIDDEN),
        (r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{16,}", rf"\1 {_HIDDEN}"),
        # The password of a store may hold any sign, so everything up to the last @ goes; elsewhere only what is one.
        (r"\b((?:rediss?|unix)(?:\+[a-z]+)?://)\S*@", rf"\1{_HIDDEN}@"),
        (r"(://)[^\s/@:]*:[^\s/@]*@", rf"\1{_HIDDEN}@"),
        (r"\b([a-z_]*(?:password|secret|token)=)[^\s&;,'\"]+", rf"\1{_HIDDEN}"),
    )
]
# What ends a line or moves a cursor in some terminal, editor or log reader.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def redact(text: str) -> str:
    """Return the first 8,192 characters of `text` with tickets, cookies, authorization and passwords as `***`."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


def configure_logging(environ: Mapping[str, str] = os.environ, stream: TextIO | None = None) -> None:
    """Send every log event of this process, warnings included, to `stream` (default: standard error).

    For commands; a site that mounts the middleware configures logging itself.

    Raises:
        ConfigurationError: a variable names no level or no format.
    """
    level = environ.get(LEVEL_VARIABLE) or "info"
    if level.lower() not in _LEVELS:
        raise ConfigurationError(LEVEL_VARIABLE, level, f"one of {', '.join(_LEVELS)}")
    formatters = {"console": ConsoleFormatter, "json": JsonFormatter}
    shape = environ.get(FORMAT_VARIABLE) or "console"
    if shape.lower() not in formatters:
        raise ConfigurationError(FORMAT_VARIABLE, shape, f"one of {', '.join(formatters)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatters[shape.lower()]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger and message in one line; a traceback follows on it, its lines parted by `|`."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_message_of(record)} | {exception}" if (exception := _exception_of(record)) else _message_of(record)
        head = f"{_time_of(record)} {record.levelname:<8} {record.name}: "
        return _CONTROLS.sub(_escape, head + text)


class JsonFormatter(logging.Formatter):
    """One JSON object in ASCII: time, level, logger, message and, for a failure, exception."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message_of(record),
        }
        if exception := _exception_of(record):
            event["exception"] = exception
        return json.dumps(event)


def _message_of(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - the event is told all the same when its arguments do not fit its text
        message = f"{record.msg!r} {record.args!r}"
    return redact(message)


def _exception_of(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    lines = logging.Formatter().formatException(record.exc_info).splitlines()
    return " | ".join(redact(line.strip()) for line in lines if line.strip())


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
