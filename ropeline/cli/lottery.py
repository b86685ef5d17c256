"""`ropeline lottery`: shows, exports and verifies the draws by lot of events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ropeline.cli.place import Place, with_store
from ropeline.cli.tenant import tenant_name
from ropeline.gate.fields import SLUG
from ropeline.gate.lots import REVEALED_AFTER, Lottery, wrong_places
from ropeline.gate.tenant_store import TenantStore
from ropeline.lua.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace

    from ropeline.lua.client import Client

__all__ = ["export_lottery", "show_lottery", "verify_lottery"]

_LARGEST_FILE: Final = 1 << 30
_MOST_SHOWN: Final = 10


def show_lottery(options: Namespace) -> int:
    """Show what is public of a draw: the commit, and the seed once it is revealed."""

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        lottery, is_revealed = await _lottery(store, options)
        public = _public(lottery, is_revealed=is_revealed)
        if options.json:
            print(json.dumps(public))
        else:
            for key, value in public.items():
                print(f"{key}={'not revealed yet' if value is None else value}")
        return 0

    return with_store(options, work)


def export_lottery(options: Namespace) -> int:
    """Print a draw with the places of all who are in line by it; refused until the seed is revealed."""
    name = tenant_name(options)

    async def work(store: TenantStore, _client: Client, _place: Place) -> int:
        lottery, is_revealed = await _lottery(store, options)
        if not is_revealed:
            expected = (
                f"an event that started at least {REVEALED_AFTER} seconds ago: its seed is not revealed before that"
            )
            raise ConfigurationError("EVENT", lottery.event, expected)
        places = await store.drawn_places(name, lottery.opened)
        document = _public(lottery, is_revealed=True) | {"places": {id_.hex(): place for id_, place in places.items()}}
        print(json.dumps(document))
        return 0

    return with_store(options, work)


def verify_lottery(options: Namespace) -> int:
    """Recompute every place of an exported draw; 1 when the seed or a place is not as it has to be. Asks no store."""
    document = _read(options.file)
    wrong = wrong_places(document)
    places = document.get("places")
    count = len(places) if isinstance(places, dict) else 1
    for line in wrong[:_MOST_SHOWN]:
        print(line)
    if wrong:
        print(f"faults: {len(wrong)}, in the seed and {count} recomputed places")
        return 1
    print(f"the seed is the one that was committed to; recomputed places: {count}, all as it draws them")
    return 0


async def _lottery(store: TenantStore, options: Namespace) -> tuple[Lottery, bool]:
    """The draw that the command line names, and whether its seed is public."""
    stored = await store.read(tenant_name(options))
    name = str(SLUG.check("EVENT", options.event))
    draws = {event.name: lottery for event in stored.settings.events if (lottery := stored.lottery(event)) is not None}
    if name not in draws:
        known = ", ".join(draws) or "none"
        raise ConfigurationError(
            "EVENT", name, f"an event whose places are drawn by lot; tenant {options.name} has: {known}"
        )
    return draws[name], draws[name].is_revealed(await store.time())


def _public(lottery: Lottery, *, is_revealed: bool) -> dict[str, object]:
    return {
        "event": lottery.event,
        "opened": lottery.opened,
        "commit": lottery.commit,
        "seed": lottery.seed.hex() if is_revealed else None,
    }


def _read(name: str) -> dict[str, object]:
    expected = "a file that `ropeline lottery export` has written, or the `lottery` of a visitor's status"
    try:
        with Path(name).open("rb") as file:
            document = json.loads(file.read(_LARGEST_FILE))
    except OSError as error:
        raise ConfigurationError("FILE", name, f"{expected} ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ConfigurationError("FILE", name, expected) from None
    if not isinstance(document, dict):
        raise ConfigurationError("FILE", name, expected)
    return document
