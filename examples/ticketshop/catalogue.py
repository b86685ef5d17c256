"""What the shop sells: its events, and how many seats of each are left."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

MOST_SEATS_AN_ORDER = 6


@dataclass(frozen=True, slots=True)
class Event:
    """One evening that tickets are sold for. `poster` names its colours in the style sheet."""

    slug: str
    title: str
    act: str
    venue: str
    when: str
    price_cents: int
    seats: int
    poster: str
    about: str

    @property
    def price(self) -> str:
        return euros(self.price_cents)


EVENTS = {
    event.slug: event
    for event in (
        Event(
            "aurora-vale",
            "Northern Lights Tour",
            "Aurora Vale",
            "Harbour Arena, Bergen",
            "Sat 5 June, 20:00",
            6800,
            18_000,
            "aurora",
            "Two hours of synth and choir under a ceiling of light. The only show in the north this year, with the "
            "city's youth choir for the last four songs.",
        ),
        Event(
            "paper-lions",
            "Paper Lions Unplugged",
            "Paper Lions",
            "Old Foundry, Leeds",
            "Fri 18 June, 19:30",
            4200,
            1_200,
            "ember",
            "Four people, four chairs, one microphone. The foundry's brick hall seats twelve hundred and every one of "
            "them is close.",
        ),
        Event(
            "midnight-symphony",
            "Midnight Symphony",
            "Riverside Philharmonic",
            "Glass Hall, Ghent",
            "Sun 27 June, 23:30",
            5500,
            2_400,
            "night",
            "Holst's Planets, played while the sky above the glass roof turns. Doors at eleven, the last note at one.",
        ),
        Event(
            "long-summer",
            "The Long Summer",
            "Festival, three days",
            "Lakeside Park, Graz",
            "2 to 4 July, from noon",
            12_900,
            30_000,
            "meadow",
            "Forty acts on three stages between the lake and the orchard. Bring a hat. Children under twelve come free.",
        ),
        Event(
            "second-thoughts",
            "Second Thoughts",
            "Mira Oduya, stand-up",
            "Cellar Theatre, Porto",
            "Thu 8 July, 21:00",
            2400,
            180,
            "rose",
            "New hour, small room. Mira Oduya tries out what did not fit on television, and some of what did not fit "
            "at all.",
        ),
        Event(
            "slow-machines",
            "Slow Machines",
            "Exhibition, opening night",
            "Tram Depot 4, Brno",
            "Wed 14 July, 18:00",
            1800,
            600,
            "steel",
            "Clocks, looms and calculating engines, all running. The makers are there on the first night to explain "
            "and to oil.",
        ),
    )
}


class Seats:
    """The seats that are left, kept in this process alone; whoever watches hears of each change."""

    def __init__(self) -> None:
        self._left = {event.slug: event.seats for event in EVENTS.values()}
        self._changed = asyncio.Event()

    def left(self, slug: str) -> int:
        return self._left[slug]

    def take(self, wanted: dict[str, int]) -> bool:
        """Take all seats of an order, or none when one event has too few left."""
        if any(self._left[slug] < count for slug, count in wanted.items()):
            return False
        for slug, count in wanted.items():
            self._left[slug] -= count
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return True

    async def watch(self, slug: str) -> AsyncIterator[int]:
        """How many are left, now and after each change."""
        told = -1
        while True:
            changed = self._changed
            if told != self._left[slug]:
                told = self._left[slug]
                yield told
            await changed.wait()


def euros(cents: int) -> str:
    """A price as it is written on a page."""
    return f"€\N{NO-BREAK SPACE}{cents // 100}.{cents % 100:02}"
