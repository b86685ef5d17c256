"""`ropeline doctor`: checks the store and says of each check what was found and what is right."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ropeline.cli.checks import Result, check_store
from ropeline.cli.place import Place, with_store
from ropeline.cli.tables import aligned

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.gate.tenant_store import TenantStore
    from ropeline.lua.client import Client

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Check the store; 1 when a check failed."""

    async def work(store: TenantStore, client: Client, place: Place) -> int:
        checks = await check_store(client, store)
        is_well = all(check.result is not Result.FAIL for check in checks)
        if options.json:
            print(json.dumps({"store": str(place), "ok": is_well, "checks": [asdict(check) for check in checks]}))
        else:
            print(f"store: {place}")
            rows = [
                [
                    check.result,
                    check.name,
                    check.found if check.result is Result.OK else f"{check.found}; {check.right}",
                ]
                for check in checks
            ]
            print("\n".join(aligned(rows)))
        return 0 if is_well else 1

    return with_store(options, work)
