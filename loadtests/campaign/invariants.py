"""The promises of the line, checked after every call from the outside: from what the store holds and what was answered.

Nothing here knows how the scripts work. A session's score says where it is, its end until when; the rest is kept as an
onlooker would keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.campaign.facts import Call, Caller, require
from loadtests.campaign.lots import as_seen, names_window, place_by_lot
from loadtests.campaign.onlooker import Onlooker
from loadtests.campaign.words import check_words
from ropeline.lua.line_settings import Method
from ropeline.lua.results import LineHead, Outcome, Verdict
from ropeline.lua.visits import Visit

__all__ = ["Invariants"]

ADMITTED = 2
_SECOND = 1_000_000
_IN = (Verdict.WAITING, Verdict.ADMITTED)


class Invariants(Onlooker):
    """Hears of every call and raises Violation as soon as one breaks a promise."""

    def visited(self, visits: Sequence[Visit], head: LineHead, outcomes: Sequence[Outcome], *, caller: Caller) -> None:
        require(head.version >= caller.version, "a visit was decided on by settings that the caller knows to be old")
        require(head.generation >= caller.generation, "a flush that the caller knows of was undone")
        visits = [as_seen(visit) for visit in visits]
        knows = caller.clock > 0 or any(visit.ticketed for visit in visits)
        before, after = self._begin(head, caller, knows=knows, visits=visits)
        call = Call(before, after, head, visits, outcomes, purges=True)
        self._check_lots(call)
        self._check_moves(call)
        in_line = [outcome.place for outcome in outcomes if outcome.verdict is Verdict.WAITING]
        self.facts.place = max([self.facts.place, *in_line])
        for visit, outcome in zip(visits, outcomes, strict=True):
            self.counts[outcome.verdict.name.lower()] += 1
            check_words(call, visit, outcome, self.facts.numbers, self.places)
            self._check_position(visit.id, outcome)
            if outcome.is_new and not (names_window(visit) and outcome.verdict in _IN) and outcome.place % _SECOND:
                self._check_new_place(visit.fresh, outcome.place, head)
        self._check_tickets(call)
        self._check_first_contacts(call)
        self._finish(call)

    def ticked(self, head: LineHead, *, caller: Caller) -> None:
        call = Call(*self._begin(head, caller), head, purges=True)
        self._check_moves(call)
        self._finish(call)

    def ended(self, ids: Sequence[bytes], kind: str, head: LineHead, *, caller: Caller) -> None:
        """`kind`: "leave", "close" or "revoke"."""
        before, after = self._begin(head, caller, knows=kind != "revoke" or caller.clock > 0)
        live = {who for who in ids if before.is_live(who, head.clock)}
        if kind == "close":
            self._check_closing({who for who in live if before.is_active(who)}, Call(before, after, head))
        else:
            require(not set(ids) & set(after.scores), f"{kind}: the session is still there")
            if kind == "leave":
                self.facts.left |= live
            else:
                self.facts.revoked |= set(ids)
        call = Call(before, after, head, ended=frozenset(ids), kind=kind)
        self._check_moves(call)
        self._finish(call)

    def flushed(self, head: LineHead, *, caller: Caller) -> None:
        before, after = self._begin(head, caller, knows=caller.clock > 0)
        require(not after.scores, "flush: sessions are left")
        self._finish(Call(before, after, head))

    # -- who is where

    def _check_lots(self, call: Call) -> None:
        """Who is new in line with a ticket that names a pre-queue is where the seed says, or behind everybody who was there."""
        decided: set[bytes] = set()
        for visit, outcome in zip(call.visits, call.outcomes, strict=True):
            who = visit.id
            # Of several tickets with one id, the first that is worth something decides.
            if outcome.verdict not in _IN or who in decided:
                continue
            decided.add(who)
            if not names_window(visit) or call.before.is_live(who, call.head.clock) or not call.after.is_place(who):
                continue
            place, opened = abs(call.after.scores[who]), visit.place // _SECOND
            takes_part = visit.state != 0 or self.facts.numbers.window == opened
            if opened in self.facts.windows and takes_part:
                require(place == place_by_lot(opened, who), "a place is not the one that was drawn by lot")
                self.counts["lots"] += 1
            else:
                behind = all(place > other for other in call.before.waiting.values())
                require(behind, "who came too late for the draw has a place before others")
                self.counts["late"] += 1

    def _check_moves(self, call: Call) -> None:
        """Who left, who came, who was admitted: all of it has to be allowed by what was there before."""
        before, after, clock, numbers = call.before, call.after, call.head.clock, self.facts.numbers
        require(after.scores.keys() == after.ends.keys(), "sessions and pool do not hold the same ids")
        self.facts.note_what_ran_out(call)
        for who in after.scores.keys() - before.scores.keys():
            require(who in call.shown | call.first, "a session appeared that nobody showed a ticket for")
        for who in before.scores:
            if before.is_live(who, clock):
                if call.kind == "close" or who not in call.ended:
                    self._check_step(who, call)
            elif call.purges:
                require(not after.has_ended(who, clock), "a session that has ended was not purged")
        restored, entered = self._split_admissions(call)
        if entered:
            self._check_admissions(entered, restored, call)
        self._check_rate(len(entered - call.emergencies), call.head)
        gives_slots = not call.head.closed and numbers.rate < 0 and numbers.method is Method.FIFO
        if call.purges and gives_slots and after.waiting:
            require(len(after.active) >= numbers.quota, "a free slot was not given on")
        self._count_rises(call)

    def _check_step(self, who: bytes, call: Call) -> None:
        """A live session may only go forward: waiting, called, admitted; and its end may only move away."""
        before, after = call.before, call.after
        require(who in after.scores, f"a session was removed before its end, score {before.scores[who]}")
        if before.scores[who] == after.scores[who]:
            is_shortened = after.ends[who] < before.ends[who]
            require(not is_shortened or who in call.ended, "a hold was shortened although nobody closed a tab")
            return
        require(not before.is_admitted(who), "an admitted visitor was thrown back before its end")
        require(not after.is_waiting(who), "a place in line changed")
        if before.is_called(who):
            require(after.is_admitted(who) and who in call.shown, "a call was taken back")

    def _split_admissions(self, call: Call) -> tuple[set[bytes], set[bytes]]:
        """Who is active now and was not: those whose visit goes on from a former epoch, and the others."""
        before, after, head = call.before, call.after, call.head
        fresh = {
            who
            for who in after.active
            if not before.is_active(who) or (before.has_ended(who, head.clock) and before.of(who) != after.of(who))
        }
        restored = {
            visit.id
            for visit in call.visits
            if visit.id in fresh
            and (visit.state == ADMITTED and visit.epoch != head.epoch and visit.end > head.clock)
            and after.scores[visit.id] == -visit.since
        }
        return restored, fresh - restored

    def _check_admissions(self, entered: set[bytes], restored: set[bytes], call: Call) -> None:
        after, head, numbers = call.after, call.head, self.facts.numbers
        self.counts["admissions"] += len(entered)
        require(not head.recovering, "somebody was admitted while the store recovers")
        is_closed = head.closed or numbers.closed or numbers.method is Method.REJECT
        require(not is_closed, "somebody was admitted although the tenant is closed")
        emergencies = call.emergencies & entered
        # Who is let in on an emergency ticket may be followed, in the same call, by visits that go on.
        counted = len(after.active) - (len(restored) if emergencies else 0)
        if numbers.method is not Method.PASSTHROUGH:
            require(counted <= numbers.quota, f"admitted over the quota: {counted} of {numbers.quota}")
        for who in entered:
            if after.is_called(who):
                hold = min(60_000, numbers.claim_within) if who in call.first else numbers.claim_within
                require(after.ends[who] == head.clock + hold, "a call holds the slot for another time")
                if who not in call.shown:
                    require(not call.before.has_ended(who, head.clock), "somebody was called whose hold had ended")
            else:
                begins_now = who in call.shown and after.scores[who] == -head.clock
                require(begins_now, "a visit begins at another time than now")
        from_line = entered - emergencies - call.first
        # Losses in quick succession may give a place away twice: the ids decide then.
        last = max(((self._place_of(who, call), who) for who in from_line), default=(0, b""))
        is_in_order = all((place, who) > last for who, place in after.waiting.items())
        require(is_in_order, "somebody was admitted before a lower place")
        require(not (call.first and after.waiting), "a first contact was admitted past the line")

    def _place_of(self, who: bytes, call: Call) -> int:
        return -call.after.scores[who] if call.after.is_called(who) else self.places[who]

    def _check_rate(self, admissions: int, head: LineHead) -> None:
        facts, rate = self.facts, self.facts.numbers.rate
        facts.pass_to(head.now)
        if rate < 0 or facts.numbers.method is Method.PASSTHROUGH:
            facts.level = 0.0
            return
        facts.level += admissions
        burst = max(1, rate / 60) if rate else 0
        require(facts.level <= burst + 0.01, f"{facts.level:.2f} admissions beyond the rate")

    def _check_closing(self, closing: set[bytes], call: Call) -> None:
        self.facts.closing |= closing
        for who in closing:
            shortened = min(call.before.ends[who], call.head.clock + self.facts.numbers.leave_hold)
            require(call.after.ends.get(who) == shortened, "a closed tab holds a slot for another time")

    # -- what visitors are told and what their tickets are worth

    def _check_position(self, who: bytes, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.WAITING and outcome.position > 0:
            # What is remembered has risen by everybody who came back to a lower place.
            require(outcome.position <= self.positions.get(who, outcome.position), "a position rose")
            self.positions[who] = outcome.position

    def _count_rises(self, call: Call) -> None:
        for who, place in call.after.waiting.items():
            if not call.before.is_waiting(who):
                self.positions.pop(who, None)
                for other in self.positions:
                    if (call.after.scores.get(other, 0), other) > (place, who):
                        self.positions[other] += 1

    def _check_new_place(self, who: bytes, place: int, head: LineHead) -> None:
        require(place > self.facts.place, "a place is not above the last one")
        require(place > self.highest_place, "a place is not above one that was lost")
        self.facts.place = self.highest_place = place
        self.places[who] = place
        self.generations[who] = head.generation

    def _check_tickets(self, call: Call) -> None:
        """What a ticket is worth: its holder is where it says, or has to begin anew."""
        worths = [visit.ticketed and self.facts.is_worth_a_place(visit, call.head) for visit in call.visits]
        may_be_in = {visit.id for visit, worth in zip(call.visits, worths, strict=True) if worth is not False}
        for visit, outcome, worth in zip(call.visits, call.outcomes, worths, strict=True):
            if outcome.verdict in _IN:
                is_live = call.before.is_live(visit.id, call.head.clock)
                require(is_live or visit.id in may_be_in, "a worthless ticket got its holder back")
                self._check_visit_goes_on(visit, outcome, call.head)
            else:
                require(worth is not True, f"a place was lost: {outcome.verdict.name}")

    def _check_visit_goes_on(self, visit: Visit, outcome: Outcome, head: LineHead) -> None:
        """A visitor who was admitted is, until the end that the ticket names."""
        longest = self.facts.numbers.session_max
        last = visit.since + longest if longest else visit.end
        if visit.state == ADMITTED and head.clock < min(visit.end, last):
            require(outcome.verdict is Verdict.ADMITTED, "an admitted visitor was sent back into the line")
            require(outcome.end >= min(visit.end, last), "a visit's end came nearer")
        self.facts.closing.discard(visit.id)

    def _check_first_contacts(self, call: Call) -> None:
        facts, numbers, clock, after = self.facts, self.facts.numbers, call.head.clock, call.after
        facts.first_contacts = {who for who in facts.first_contacts if after.is_called(who)} | call.first
        if call.first:
            most = max(10, numbers.quota // 10)
            require(len(facts.first_contacts) <= most, "unseen first contacts fill more than their part")
            facts.draws = [drawn for drawn in facts.draws if clock - drawn < numbers.confirm_within]
            require(not facts.draws, "a first contact passed somebody who is about to confirm a place")
            return
        drew = any(outcome.verdict is Verdict.UNCONFIRMED for outcome in call.outcomes)
        if drew and len(after.active) >= numbers.quota and numbers.method is Method.FIFO:
            facts.draws.append(clock)
