"""The OpenAPI document is the contract: each field with unit, bound, default and example, and no second list of settings."""

import re
import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest

from ropeline.admin_api import AdminSettings, create_app
from ropeline.admin_api.schema import to_document
from ropeline.gate.fields import Number, setting_of
from ropeline.gate.settings import TenantSettings
from tests.admin_api.conftest import SECRET_KEYS

DOCUMENT: dict[str, Any] = create_app(AdminSettings(secret_keys=SECRET_KEYS)).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
TENANT: dict[str, Any] = SCHEMAS["TenantSettings"]["properties"]


def test_every_setting_of_the_gate_is_in_the_document_with_its_bounds() -> None:
    assert list(TENANT) == [field.name for field in fields(TenantSettings)]
    assert SCHEMAS["TenantSettings"]["required"] == ["name", "host", "total_active_users"]
    for field in fields(TenantSettings):
        setting, schema = setting_of(field), TENANT[field.name]
        assert schema["description"].startswith(setting.text)
        assert schema.get("x-unit", "") == setting.unit
        if isinstance(setting.kind, Number):
            assert (schema["minimum"], schema["maximum"]) == (setting.kind.low, setting.kind.high)
        if field.default not in (MISSING, ()):
            assert schema["default"] == to_document(field.default)
    assert TENANT["new_users_per_minute"]["type"] == ["integer", "null"]
    assert TENANT["on_store_error"]["enum"] == ["bounded", "open", "closed"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_of_every_document_is_described_and_has_an_example(name: str) -> None:
    for field, schema in SCHEMAS[name]["properties"].items():
        assert schema["description"].partition(" Unit:")[0].endswith((".", ".)")) or "Allowed" in schema["description"]
        if not schema.keys() & {"allOf", "anyOf"} and schema.get("items", {}).keys() != {"allOf"}:
            assert "examples" in schema or name in ("ProblemDocument", "TenantSettingsPatch"), f"{name}.{field}"


@pytest.mark.parametrize(
    "name", ["TenantSettings", "Rule", "Condition", "Route", "Poll", "CookieAttributes", "KeyDraft"]
)
def test_every_field_that_operators_send_has_an_example(name: str) -> None:
    assert [field for field, schema in SCHEMAS[name]["properties"].items() if "examples" not in schema] == []


def test_the_examples_are_settings_that_can_be() -> None:
    example = {name: schema["examples"][0] for name, schema in TENANT.items()}
    assert TenantSettings.from_mapping(example, source="example").name == example["name"]


def test_every_reference_leads_somewhere_and_every_call_says_what_it_answers() -> None:
    text = str(DOCUMENT)
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= set(SCHEMAS)
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            for status, response in operation["responses"].items():
                assert response.get("content") or status == "204", (method, path, status)


def test_the_request_path_of_visitors_loads_neither_fastapi_nor_pydantic() -> None:
    code = (
        "import sys; from ropeline import GateMiddleware, GateSettings, TenantSettings; import ropeline.gate.snapshot;"
        "import ropeline.gate.gate, ropeline.gate.middleware, ropeline.pages.renderer;"
        "print([name for name in ('fastapi', 'pydantic', 'starlette', 'ropeline.admin_api') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


def test_the_keys_of_operators_are_made_without_fastapi() -> None:
    code = "import sys, ropeline.cli.admin_keys; print('fastapi' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "False"
