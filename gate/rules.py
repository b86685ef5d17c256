"""Decides which requests of a tenant pass by its line or are refused: ordered rules that queue, bypass or block.

Clients choose how they spell a path, so one that is exempted must be the same in every reading (`gate/paths.py`), and one
that is queued or blocked is so in any. Patterns are compared by searching for their parts, in time that grows with the
length of the text and not faster.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ropeline.gate.client_address import Networks
from ropeline.gate.cookie_header import find_cookie
from ropeline.gate.fields import Choice, Flag, ListOf, Table, Text, check_fields, described, line_of_text
from ropeline.gate.hosts import host_pattern, normalise_host
from ropeline.gate.paths import path_prefix, starts_with
from ropeline.gate.request import GateRequest
from ropeline.lua.errors import ConfigurationError

_SUBJECTS = ("path", "method", "host", "header", "cookie", "user_agent", "client_address")
_OPERATORS = ("equals", "prefix", "contains", "glob", "cidr")
_NAMED = ("header", "cookie")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

_Compare = Callable[[bytes], bool]
_Test = Callable[[GateRequest, bytes | None], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison with a request. A rule applies when all of its conditions hold."""

    subject: str = field(metadata=described(Choice(_SUBJECTS), "What is compared."))
    name: str = field(
        default="",
        metadata=described(
            Text(
                "the name of a header or cookie",
                lambda text: text if len(text) <= 256 and _TOKEN.issuperset(text) else None,
            ),
            "Which header or cookie; empty for the other subjects.",
            example="plan",
        ),
    )
    operator: str = field(
        metadata=described(
            Choice(_OPERATORS),
            "How it is compared. `prefix` of a path ends at a `/`: `/a` covers `/a/b`, not `/ab`. In a `glob`, `*` stands for"
            " any characters, also none, also `/`. `cidr` is for `client_address`, which has no other.",
        )
    )
    value: str = field(
        metadata=described(
            Text("1 to 256 printable characters", line_of_text(256)),
            "With what. Upper and lower case differ, except in hosts.",
            example="/static",
        )
    )
    negate: bool = field(default=False, metadata=described(Flag(), "True turns the outcome around."))

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.subject in _NAMED) != bool(self.name):
            right = "the name of one" if self.subject in _NAMED else "no name, as the subject is not header or cookie"
            raise ConfigurationError("name", self.name, right)
        if (self.subject == "client_address") != (self.operator == "cidr"):
            right = (
                "cidr" if self.subject == "client_address" else "another operator, as cidr is for client_address alone"
            )
            raise ConfigurationError("operator", self.operator, right)
        self._check_value()

    def _check_value(self) -> None:
        right = ""
        whole = self.operator in ("equals", "prefix")
        if self.subject == "path" and whole and path_prefix(self.value) is None:
            right = "an absolute path of plain ASCII, such as /static"
        elif self.subject == "path" and self.operator == "glob" and self.value[0] not in "/*":
            right = "a pattern that begins with / or *"
        elif self.subject == "method" and not self.value.isupper():
            right = "a method in upper case, such as POST"
        elif self.subject == "host" and self.operator == "equals" and host_pattern(self.value) != self.value:
            right = "a host in lower case, such as shop.example.com"
        elif self.operator == "cidr":
            try:
                Networks([self.value])
            except ValueError:
                right = "an address or a network such as 10.0.0.0/8"
        if right:
            raise ConfigurationError("value", self.value, right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to the requests that meet all conditions; the first rule that applies decides."""

    action: str = field(
        metadata=described(
            Choice(("queue", "bypass", "block")),
            "`queue`: through the line like anybody. `bypass`: to the site, unseen by the line. `block`: refused with 403.",
        )
    )
    description: str = field(
        default="",
        metadata=described(
            Text("at most 200 printable characters", lambda text: line_of_text(200)(text) if text else text),
            "For whoever reads the rules next.",
            example="static files pass",
        ),
    )
    conditions: tuple[Condition, ...] = field(
        metadata=described(
            ListOf(Table(Condition), 10),
            "All must hold; at least one.",
            example=[{"subject": "path", "operator": "prefix", "value": "/static"}],
        )
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.conditions:
            raise ConfigurationError("conditions", [], "at least one condition")


class RuleSet:
    """The rules of one tenant, made ready to be asked."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [
            ((rule.action, position), tuple(_test(condition, rule.action) for condition in rule.conditions))
            for position, rule in enumerate(rules)
        ]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def action(self, request: GateRequest, address: bytes | None) -> str:
        """What the first rule that applies does: `queue`, `bypass` or `block`; `queue` when none applies."""
        return self.first(request, address)[0]

    def first(self, request: GateRequest, address: bytes | None) -> tuple[str, int]:
        """The same, and the position of that rule in the settings, -1 when none applies.

        `address`: the client's, packed; None, not known, lies in no network.
        """
        for told, tests in self._rules:
            for test in tests:
                if not test(request, address):
                    break
            else:
                return told
        return "queue", -1

    def outcomes(self, request: GateRequest, address: bytes | None) -> list[list[bool]]:
        """For each rule and each of its conditions, whether it holds: why `action` says what it says."""
        return [[test(request, address) for test in tests] for _, tests in self._rules]


def _test(condition: Condition, action: str) -> _Test:
    negate = condition.negate
    if condition.subject == "path":
        return _path_test(condition, is_exempting=action == "bypass")
    if condition.subject == "client_address":
        networks = Networks([condition.value])

        def test_address(request: GateRequest, address: bytes | None) -> bool:  # noqa: ARG001 - one signature for all
            return (address is not None and address in networks) != negate

        return test_address
    compare = _comparison(condition.operator, condition.value.encode())
    read = _reader(condition, is_exempting=action == "bypass")

    def test(request: GateRequest, address: bytes | None) -> bool:  # noqa: ARG001 - one signature for all
        text = read(request)
        return (text is not None and compare(text)) != negate

    return test


def _path_test(condition: Condition, *, is_exempting: bool) -> _Test:
    negate = condition.negate
    if condition.operator == "prefix":
        as_sent = _below(condition.value.encode())
        as_read = _below((path_prefix(condition.value) or "").encode())
    elif condition.operator == "equals":
        as_sent = condition.value.encode().__eq__
        as_read = (path_prefix(condition.value) or "").encode().__eq__
    else:
        as_sent = _comparison(condition.operator, condition.value.encode())
        in_lower_case = _comparison(condition.operator, condition.value.lower().encode())

        def as_read(path: bytes) -> bool:
            # The forms have no slash at their end, and a pattern may ask for one.
            return in_lower_case(path) or in_lower_case(path + b"/")

    def test_exempting(request: GateRequest, address: bytes | None) -> bool:  # noqa: ARG001 - one signature for all
        forms = request.forms
        if forms.doubtful or as_sent(forms.raw) == negate:
            return False
        return all(as_read(path) != negate for path in forms.normal)

    def test(request: GateRequest, address: bytes | None) -> bool:  # noqa: ARG001 - one signature for all
        forms = request.forms
        return as_sent(forms.raw) != negate or any(as_read(path) != negate for path in forms.normal)

    return test_exempting if is_exempting else test


def _reader(condition: Condition, *, is_exempting: bool) -> Callable[[GateRequest], bytes | None]:
    """What a condition compares; None where the request has no such thing, which equals nothing."""
    if condition.subject == "method":
        # Some servers let `post` through and some sites take it for POST: that exempts nobody, and is blocked.
        return lambda request: (request.method if is_exempting else request.method.upper()).encode()
    if condition.subject == "host":
        return lambda request: normalise_host(request.host)
    if condition.subject == "cookie":
        cookie = f"{condition.name}=".encode()
        return lambda request: find_cookie(request.header(b"cookie"), cookie)
    header = b"user-agent" if condition.subject == "user_agent" else condition.name.lower().encode()
    return lambda request: request.header(header) or None


def _comparison(operator: str, value: bytes) -> _Compare:
    if operator == "equals":
        return value.__eq__
    if operator == "prefix":
        return lambda text: text.startswith(value)
    if operator == "contains":
        return lambda text: value in text
    return _glob(value)


def _below(prefix: bytes) -> _Compare:
    return lambda path: starts_with(path, prefix)


def _glob(pattern: bytes) -> _Compare:
    """Match a pattern in which `*` is the only sign: each part is taken where it is found first, which loses no match."""
    first, *others = pattern.split(b"*")
    if not others:
        return pattern.__eq__
    middle, last = [part for part in others[:-1] if part], others[-1]

    def matches(text: bytes) -> bool:
        if not text.startswith(first):
            return False
        position, end = len(first), len(text) - len(last)
        for part in middle:
            position = text.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return position <= end and text.endswith(last)

    return matches
