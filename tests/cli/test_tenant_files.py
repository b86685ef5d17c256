"""All tenants are written as one file, and read back after a look at what that would change."""

import json
from pathlib import Path

from tests.admin_api.test_files import ROOM
from tests.cli.running import Command


def test_the_command_exports_and_imports(on_store_command: Command, tmp_path: Path) -> None:
    assert on_store_command("tenant", "set", "acme", "host=acme.test", "total_active_users=5").status == 0
    (tmp_path / "tenants.toml").write_text(on_store_command("tenant", "export").out, encoding="utf-8")
    file = str(tmp_path / "tenants.toml")
    assert on_store_command("tenant", "import", file).out == "acme: unchanged\n"
    text = (tmp_path / "tenants.toml").read_text(encoding="utf-8")
    (tmp_path / "tenants.toml").write_text(text.replace("total_active_users = 5", "total_active_users = 6"))
    look = on_store_command("tenant", "import", file, "--dry-run").out
    assert look == "acme: changed\n  total_active_users  5  ->  6\nNothing was changed.\n"
    assert on_store_command("tenant", "import", file, "--reason", "more").out.startswith("acme: changed\n")
    document = json.loads(on_store_command("tenant", "export", "--json").out)
    assert document["tenant"][0]["total_active_users"] == 6
    (tmp_path / "rooms.json").write_text(json.dumps({"result": [ROOM]}))
    brought = on_store_command("tenant", "import", "--from", "cloudflare", str(tmp_path / "rooms.json")).out
    assert "note: production-webinar: left out custom_page_html, turnstile_mode\n" in brought
    assert brought.endswith("production-webinar: created\n")
    for wrong, said in [(("nowhere.toml",), "FILE: got 'nowhere.toml'"), (("--from", "json", file), f"{file}: got ")]:
        refused = on_store_command("tenant", "import", *wrong)
        assert (refused.status, said in refused.refusal) == (2, True)
