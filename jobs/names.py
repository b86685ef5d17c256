"""Checks the names of queues, stages, namespaces, task types and locks before anything is written under them.

A queue and its stage are the hash tag ``{stage:queue}`` of their keys, stand in labels of metrics and in options such as
``-q critical=6,default=3``: a name that could break out of one of these is refused.
"""

from __future__ import annotations

from typing import Final

from ropeline.lua.errors import ConfigurationError

__all__ = ["check_lock", "check_name", "check_task_type"]

_LONGEST_NAME: Final = 63
_LONGEST_TEXT: Final = 200
_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OTHERS: Final = _FIRST | frozenset("._-")
_NAME: Final = f"1 to {_LONGEST_NAME} of the characters a-z, A-Z, 0-9, '.', '_' and '-', the first a letter or digit"
_LOCK: Final = f"1 to {_LONGEST_TEXT} bytes of printable text without ':', '{{' or '}}'"
_TASK: Final = f"1 to {_LONGEST_TEXT} bytes of printable text without spaces, '{{' or '}}', such as order:confirm"


def check_name(field: str, name: object) -> str:
    """Return the name of a queue, stage or namespace as it is; raises ConfigurationError for `field` when it is none."""
    if not isinstance(name, str):
        raise ConfigurationError(field, name, _NAME)
    wrong = next((character for character in name if character not in _OTHERS), None)
    if wrong is not None:
        raise ConfigurationError(field, name, f"{_NAME}; {wrong!r} is not allowed")
    if not 0 < len(name) <= _LONGEST_NAME or name[0] not in _FIRST:
        raise ConfigurationError(field, name, _NAME)
    return name


def check_task_type(field: str, name: object) -> str:
    """Return a task type as it is, `order:confirm` or `shop.orders:confirm`; raises ConfigurationError when it is none."""
    return _check_text(field, name, "{} ", _TASK)


def check_lock(field: str, name: object) -> str:
    """Return the name of a lock as it is; raises ConfigurationError when it is none."""
    return _check_text(field, name, ":{}", _LOCK)


def _check_text(field: str, name: object, refused: str, expected: str) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(field, name, expected)
    wrong = next((character for character in name if character in refused or not character.isprintable()), None)
    if wrong is not None:
        raise ConfigurationError(field, name, f"{expected}; {wrong!r} is not allowed")
    # Printable text has no lone surrogates, so it can be encoded.
    if not 0 < len(name.encode()) <= _LONGEST_TEXT:
        raise ConfigurationError(field, name, expected)
    return name
