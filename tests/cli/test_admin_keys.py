"""Keys of operators are made, listed and revoked from the command line, without the API."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.cli.running import Command
from tests.cli.test_admin import KEYS, serving


@pytest.fixture
def operator_command(on_store_command: Command) -> Command:
    return on_store_command.on(KEYS)


def test_a_key_that_is_made_opens_the_api_until_it_is_revoked(
    operator_command: Command, on_store: dict[str, str], tmp_path: Path
) -> None:
    made = operator_command("admin", "key", "create", "Anna's laptop", "--days", "7", "--reason", "the first")
    text = made.out.strip().splitlines()[-1]
    assert re.fullmatch(r"rlk_[0-9a-f]{12}_[\w-]{51}", text)
    assert "made for Anna's laptop, superuser of all tenants, good until 20" in made.out
    key_id = text.split("_")[1]
    headers = {"Authorization": f"Bearer {text}"}
    with serving(tmp_path, on_store) as admin:
        me = httpx.get(f"{admin.url}/v1/me", headers=headers).json()
        assert (me["name"], me["role"], me["key_id"]) == ("Anna's laptop", "superuser", key_id)
        listed = operator_command("admin", "key", "list").out
        assert re.search(rf"{key_id} +Anna's laptop +superuser of all tenants +good until \S+ +cli:", listed)
        assert text not in listed
        assert operator_command("admin", "key", "revoke", key_id).out == f"{key_id}: revoked\n"
        assert httpx.get(f"{admin.url}/v1/me", headers=headers).status_code == 401
    assert operator_command("admin", "key", "list").out.startswith("no keys yet")


def test_a_key_for_some_tenants_says_so_in_json(operator_command: Command) -> None:
    arguments = ("Ben", "--role", "tenant_admin", "--tenant", "acme", "--tenant", "beta", "--days", "0", "--json")
    made = json.loads(operator_command("admin", "key", "create", *arguments).out)
    assert (made["role"], made["tenants"], made["expires_at"]) == ("tenant_admin", ["acme", "beta"], None)
    (listed,) = json.loads(operator_command("admin", "key", "list", "--json").out)["keys"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "Ben", "--role", "tenant_admin"), "tenants: got [], expected at least one tenant"),
        (("create", "Ben", "--tenant", "acme"), "tenants: got ['acme'], expected none, since a superuser's"),
        (("create", "\n"), "name: got '\\n', expected 1 to 100 printable characters"),
        (("revoke", "nobody"), "KEY_ID: got 'nobody', expected the id of a key in force"),
        ((), "key_command"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    operator_command: Command, arguments: tuple[str, ...], said: str
) -> None:
    refused = operator_command("admin", "key", *arguments)
    assert refused.status == 2
    assert said in refused.refusal


def test_keys_need_the_secret_keys_of_the_installation(on_store_command: Command) -> None:
    refused = on_store_command("admin", "key", "list")
    assert (refused.status, "ROPELINE_SECRET_KEYS" in refused.refusal) == (2, True)
