"""The promises of a line as its visitors and an onlooker see them, checked while a load test runs.

Nothing here knows how the gate works. A visitor notes when it asked, when the answer came and what it said; the decision
fell somewhere in between, so only what holds for every moment in between is called a breach. Times are seconds of one
monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field
from enum import StrEnum

from ropeline.gate.settings import TenantSettings

__all__ = ["Answer", "Breach", "Holds", "Promise", "VisitorWatch", "Watch"]

_MOST_BREACHES = 20


class Promise(StrEnum):
    """What is promised."""

    QUOTA = "nobody is admitted while as many are in as the quota allows"
    ORDER = "nobody who is confirmed and present is overtaken"
    PLACE = "nobody who comes back in time loses the place"
    STAY = "nobody who was admitted is thrown back before the visit's end"


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was broken, and how it showed."""

    promise: Promise
    text: str


@dataclass(frozen=True, slots=True)
class Holds:
    """The silences, in seconds, that certainly cost a visitor nothing.

    `confirm`: with a drawn place that has not been shown again. `line`: in line. `call`: after a first contact that was let
    in at once. `site`: on the site. `longest`: of a whole visit. `is_renewed`: each request makes the visit longer.
    """

    confirm: float
    line: float
    call: float
    site: float
    longest: float
    is_renewed: bool

    @classmethod
    def of(cls, settings: TenantSettings) -> Holds:
        """Those of a tenant: an end moves only when a quarter of its hold is gained, and not while `recheck` lasts."""
        session = settings.session_ttl_ms / 1000
        is_renewed = not settings.disable_session_renewal
        return cls(
            confirm=settings.confirm_within,
            line=min(settings.waiting_ttl * 3 / 4, settings.claim_within),
            call=min(60.0, settings.claim_within),
            site=session * 3 / 4 - settings.recheck_ms / 1000 if is_renewed else session,
            longest=settings.session_max,
            is_renewed=is_renewed,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request of a visitor showed.

    `is_inside`: the site answered and not the line. `id`, `place`: of the ticket that the visitor now holds.
    `is_confirmed`: the store knows the place.
    """

    sent: float
    received: float
    is_inside: bool
    id: bytes
    place: int
    is_confirmed: bool = True


@dataclass(frozen=True, order=True, slots=True)
class _Admission:
    place: int
    not_before: float
    not_after: float


@dataclass
class Watch:
    """What all visitors and the onlooker have seen so far. `holds`: of the tenant, as they are now."""

    holds: Holds
    breaches: list[Breach] = field(default_factory=list)
    breach_count: int = 0
    life: int = 0
    """Grows whenever the store was away or lost its data: what was seen before proves nothing afterwards."""
    samples: int = 0
    comparisons: int = 0
    stays: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds from arrival to admission of those who had to wait."""
    let_in_at_once: int = 0
    most_inside: int = 0
    _first: float = 0.0
    _latest: float = 0.0
    _inside: set[VisitorWatch] = field(default_factory=set)
    _bound: int = -1
    _version: int = 0
    _admissions: list[_Admission] = field(default_factory=list)

    @property
    def let_in(self) -> int:
        """Visitors who have been let in."""
        return self.let_in_at_once + len(self.waits)

    @property
    def admissions_per_second(self) -> float:
        """Admissions a second between the first one and the latest; 0 when there were fewer than two."""
        return (self.let_in - 1) / (self._latest - self._first) if self._latest > self._first else 0.0

    def visitor(self, arrived: float) -> VisitorWatch:
        """Begin to watch a visitor who has just arrived and holds no ticket."""
        return VisitorWatch(self, arrived, self.life)

    def interrupted(self) -> None:
        """The store was away, or has lost data."""
        self.life += 1
        self._bound = -1
        self._inside.clear()
        self._admissions.clear()

    def count_inside(self, now: float) -> int:
        """Visitors who are certainly on the site."""
        count = sum(visitor.until > now for visitor in self._inside)
        self.most_inside = max(self.most_inside, count)
        return count

    def sample(self, *, active: int, quota: int, version: int, inside: int) -> None:
        """The onlooker has counted `active` sessions under a quota from version `version` of the settings.

        After a cut of the quota more may be in, but their number only falls. `inside`: as `count_inside` said just before.
        """
        self.samples += 1
        is_known = self._bound >= 0 and version - self._version <= 1
        allowed = max(quota, self._bound)
        if is_known and active > allowed:
            self.breach(Promise.QUOTA, f"{active} were in, {allowed} allowed (quota {quota})")
        if is_known and inside > allowed:
            self.breach(Promise.QUOTA, f"{inside} visitors were on the site at once, {allowed} allowed (quota {quota})")
        self._bound, self._version = max(quota, active), version

    def breach(self, promise: Promise, text: str) -> None:
        """Write a breach down; of many the first ones."""
        self.breach_count += 1
        if len(self.breaches) < _MOST_BREACHES:
            self.breaches.append(Breach(promise, text))

    def admitted(self, visitor: VisitorWatch, place: int, *, not_before: float, not_after: float) -> None:
        """A visitor was called between these two moments."""
        self._first = self._first or not_after
        self._latest = not_after
        self._inside.add(visitor)
        insort(self._admissions, _Admission(place, not_before, not_after))

    def gone(self, visitor: VisitorWatch) -> None:
        """A visitor may have left the site from now on."""
        self._inside.discard(visitor)

    def check_order(self, place: int, *, present_since: float, asked: float) -> None:
        """Somebody confirmed and present since then asked, and was still in line: nobody behind may be in already."""
        self.comparisons += 1
        later = bisect_right(self._admissions, place, key=lambda admission: admission.place)
        for admission in self._admissions[later:]:
            if present_since <= admission.not_before and admission.not_after <= asked:
                self.breach(
                    Promise.ORDER,
                    f"place {place}, present for {admission.not_before - present_since:.2f} s by then, still waited "
                    f"{asked - admission.not_after:.2f} s after place {admission.place} was in",
                )
                return


@dataclass(eq=False)
class VisitorWatch:
    """One visitor from arrival to departure."""

    watch: Watch
    arrived: float
    life: int
    is_inside: bool = False
    _last: Answer | None = None
    _present_since: float | None = None
    _entered: float = 0.0
    _held_until: float = 0.0

    @property
    def until(self) -> float:
        """The visit certainly lasts until then."""
        return min(self._held_until, self._entered + self.watch.holds.longest)

    def saw(self, answer: Answer) -> None:
        """Take in an answer."""
        if self.life != self.watch.life:
            self.life = self.watch.life
            self._forget()
        if answer.is_inside:
            self._see_site(answer)
        else:
            self._see_line(answer)
        self._last = answer

    def leaves(self) -> None:
        """The visitor is about to leave, or to vanish; what becomes of the session is no longer its concern."""
        self.watch.gone(self)
        self._forget()

    def _forget(self) -> None:
        self.is_inside, self._last, self._present_since = False, None, None

    def _see_site(self, answer: Answer) -> None:
        watch, last, holds = self.watch, self._last, self.watch.holds
        watch.stays += 1
        if self.is_inside:
            # A slot is merely held after a first contact: the visit itself begins when the ticket is shown.
            if holds.is_renewed or (last is not None and last.sent == self._entered):
                self._held_until = max(self._held_until, answer.sent + holds.site)
            return
        self.is_inside, self._entered = True, answer.sent
        if last is None:
            watch.let_in_at_once += 1
            self._held_until = answer.sent + holds.call
        else:
            watch.waits.append(answer.received - self.arrived)
            self._held_until = answer.sent + holds.site
        # The turn came between the last sight of the line and this one, or at first contact.
        not_before = answer.sent if last is None else last.sent
        watch.admitted(self, answer.place, not_before=not_before, not_after=answer.received)

    def _see_line(self, answer: Answer) -> None:
        watch, holds = self.watch, self.watch.holds
        if self.is_inside:
            if answer.received < self.until:
                watch.breach(
                    Promise.STAY,
                    f"place {answer.place}, inside since {answer.sent - self._entered:.2f} s, was sent back into line "
                    f"{self.until - answer.received:.2f} s before the visit could end",
                )
            self.leaves()
        last, is_in_time = self._last, False
        if last is not None:
            silence = answer.received - last.sent
            is_in_time = silence < (holds.line if last.is_confirmed else holds.confirm)
            if is_in_time and (last.id, last.place) != (answer.id, answer.place):
                watch.breach(
                    Promise.PLACE, f"place {last.place} became {answer.place} after {silence:.2f} s of silence"
                )
        if not answer.is_confirmed:
            return
        if self._present_since is None or not is_in_time:
            self._present_since = answer.received
        watch.check_order(answer.place, present_since=self._present_since, asked=answer.sent)
