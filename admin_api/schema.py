"""Makes the JSON Schema of a document from the descriptions that also check it: there is no second list of fields.

Settings, bodies and answers are dataclasses whose fields are `described` (gate/fields.py); this turns them into the
components of the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, ClassVar

from ropeline.gate.fields import Choice, Flag, Kind, ListOf, Number, Table, Text, setting_of

__all__ = ["AnyObject", "AnyValue", "Maybe", "Words", "component", "reference", "to_document"]

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """A text of an answer, which nobody has to check."""

    expected: str = "a text"

    def check(self, _field: str, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class AnyObject:
    """A JSON object of an answer, whose members depend on what it is about."""

    expected: ClassVar[str] = "an object"

    def check(self, _field: str, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class AnyValue:
    """Any value of JSON."""

    expected: ClassVar[str] = "a value"

    def check(self, _field: str, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value of an answer, or null, which means `absent`."""

    kind: Kind
    absent: str

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or none: {self.absent}"

    def check(self, _field: str, value: object) -> object:
        return value


def reference(cls: type, components: dict[str, Schema]) -> Schema:
    """A reference to the component of `cls`, which is added to `components` with all that it consists of."""
    name = cls.__name__
    if name not in components:
        components[name] = {}
        components[name] = component(cls, components)
    return {"$ref": f"#/components/schemas/{name}"}


def component(cls: type, components: dict[str, Schema], *, is_patch: bool = False) -> Schema:
    """The schema of `cls` itself. `is_patch`: no field is required, and null takes a value away (RFC 7396)."""
    properties = {field.name: _property(field, components, is_patch=is_patch) for field in fields(cls)}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if cls.__doc__:
        schema["description"] = cls.__doc__.partition(" Raises ")[0].strip()
    required = [field.name for field in fields(cls) if _is_required(field)]
    if required and not is_patch:
        schema["required"] = required
    return schema


def to_document(value: object) -> Any:
    """What JSON shows of a dataclass, with null for what is not set."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_document(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_document(item) for name, item in value.items()}
    return value


def _property(field: Field[Any], components: dict[str, Schema], *, is_patch: bool) -> Schema:
    setting = setting_of(field)
    schema = _of_kind(setting.kind, components)
    if is_patch:
        schema = _nullable(schema)
    unit = f" Unit: {setting.unit}." if setting.unit else ""
    expected = setting.kind.expected
    allowed = "" if isinstance(setting.kind, Table | Maybe | Words | AnyObject | AnyValue) else f" Allowed: {expected}."
    schema["description"] = f"{setting.text}{unit}{allowed}"
    if setting.unit:
        schema["x-unit"] = setting.unit
    if not _is_required(field) and not is_patch:
        schema["default"] = to_document(_default(field))
    example = example_of(field)
    if example is not None:
        schema["examples"] = [example]
    return schema


def example_of(field: Field[Any]) -> object:
    """A value that the field may have: its own example, else its default, else one that follows from its kind."""
    setting = setting_of(field)
    if setting.example is not None:
        return setting.example
    default = _default(field)
    if default is not MISSING and default not in (None, "", ()):
        return to_document(default)
    return _example_of_kind(setting.kind)


def _example_of_kind(kind: object) -> object:
    if isinstance(kind, Flag):
        return False
    if isinstance(kind, Number):
        return kind.low
    if isinstance(kind, Choice):
        return kind.options[0]
    if isinstance(kind, Maybe):
        return _example_of_kind(kind.kind)
    if isinstance(kind, ListOf):
        inner = _example_of_kind(kind.kind)
        return None if inner is None else [inner]
    if isinstance(kind, Table):
        return {field.name: example_of(field) for field in fields(kind.type) if example_of(field) is not None}
    return None


def _of_kind(kind: object, components: dict[str, Schema]) -> Schema:
    if isinstance(kind, Flag):
        return {"type": "boolean"}
    if isinstance(kind, Number):
        bounds = {"minimum": kind.low, "maximum": kind.high}
        schema: Schema = {"type": "integer" if kind.whole else "number", **bounds}
        return _nullable(schema) if kind.absent else schema
    if isinstance(kind, Choice):
        return {"enum": list(kind.options)}
    if isinstance(kind, Text):
        schema = {"type": "string", **({"pattern": kind.pattern} if kind.pattern else {})}
        return _nullable(schema) if kind.absent else schema
    if isinstance(kind, ListOf):
        return {"type": "array", "items": _of_kind(kind.kind, components), "maxItems": kind.most}
    if isinstance(kind, Table):
        return {"allOf": [reference(kind.type, components)]}
    if isinstance(kind, Maybe):
        return _nullable(_of_kind(kind.kind, components))
    if isinstance(kind, AnyValue):
        return {}
    # Kinds that one part has for itself say by `json_type` what they are in JSON, when it is no text.
    schema = {"type": "object" if isinstance(kind, AnyObject) else getattr(kind, "json_type", "string")}
    return _nullable(schema) if getattr(kind, "absent", "") else schema


def _nullable(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    if isinstance(schema.get("type"), list):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _is_required(field: Field[Any]) -> bool:
    return _default(field) is MISSING


def _default(field: Field[Any]) -> Any:
    """The field's default, MISSING when it is required."""
    return field.default if field.default_factory is MISSING else field.default_factory()
