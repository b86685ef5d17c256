"""The pages' exceptions, under one root of their own because this package imports nothing else of ropeline's.

PagesError
├── ContextError   a page was given a field that no visitor may be shown
└── UnknownAsset   an asset was asked for that this package does not have
"""

from __future__ import annotations


class PagesError(Exception):
    """Root of everything that this package raises."""


class ContextError(PagesError):
    """A field of a page is wrong; `field`, `value` and `expected` say which one, what it was and what would be right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: got {value!r}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class UnknownAsset(PagesError):
    """No asset has the name `name`."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"asset: got {name!r}, expected one of {', '.join(known)}")
        self.name = name
