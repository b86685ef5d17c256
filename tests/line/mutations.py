"""The rules that protect the line, each with the change of the scripts' text that takes it out."""

from __future__ import annotations

from dataclasses import dataclass

from ropeline.lua.loader import load_script, script_names


@dataclass(frozen=True)
class Rule:
    """One rule: what it says, the scenario in which its absence shows soonest, and the patches (old text, new text)."""

    name: str
    scenario: str
    patches: tuple[tuple[str, str], ...]

    def rewrite(self, name: str, text: str) -> str:
        """The script's text without the rule; each old text that is in it at all stands there exactly once."""
        for old, new in self.patches:
            if old in text:
                if text.count(old) != 1:
                    raise ValueError(f"{self.name}: {old!r} stands {text.count(old)} times in {name}")
                text = text.replace(old, new)
        return text

    def unmatched(self) -> list[str]:
        """Old texts that no script on a line has."""
        texts = [load_script(name).text for name in script_names()]
        return [old for old, _ in self.patches if not any(old in text for text in texts)]


RULES = (
    # -- the line
    Rule(
        "a place is above the last one",
        "clocks",
        (("local place = math.max(line.now, line.state.place + 1)", "local place = line.now"),),
    ),
    Rule(
        "nobody in line is admitted over the quota",
        "calm",
        (("math.floor(state.tokens), config.quota - line.active)", "math.floor(state.tokens))"),),
    ),
    Rule(
        "no first contact is admitted over the quota",
        "calm",
        (("waiting > 0 or active >= config.quota or state.tokens < 1", "waiting > 0 or state.tokens < 1"),),
    ),
    Rule(
        "the lowest place is admitted first",
        "calm",
        (("line.active, line.active + room - 1", "line.active + 1, line.active + room"),),
    ),
    Rule(
        "a lower quota evicts nobody",
        "edits",
        (
            (
                "  line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')\n  if line.closed then\n",
                (
                    "  line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')\n"
                    "  if line.active > config.quota then\n"
                    "    for _, id in ipairs(redis.call('ZRANGE', KEYS[1], config.quota, line.active - 1)) do\n"
                    "      redis.call('ZREM', KEYS[1], id)\n      redis.call('ZREM', KEYS[2], id)\n    end\n"
                    "    line.active = config.quota\n  end\n"
                    "  if line.closed then\n"
                ),
            ),
        ),
    ),
    Rule(
        "a freed slot is given on at anybody's next call",
        "calm",
        (("  for _ = 1, 4 do\n", "  for _ = 1, next(present) and 4 or 0 do\n"),),
    ),
    Rule(
        "a paused line admits nobody",
        "edits",
        (
            (
                "line.recovering or line.config.closed == 1 or line.config.method == 2",
                "line.recovering or line.config.method == 2",
            ),
        ),
    ),
    Rule(
        "an admission from the line takes a token",
        "rated",
        (("      state.tokens = state.tokens - count\n", ""),),
    ),
    Rule(
        "a first contact takes a token",
        "rated first contacts",
        (("    state.tokens = state.tokens - 1\n", ""),),
    ),
    Rule(
        "tokens do not pile up",
        "rated",
        (
            (
                "math.min(burst, line.state.tokens + line.elapsed * rate / 60000000)",
                "line.state.tokens + line.elapsed * rate / 60000000",
            ),
        ),
    ),
    Rule(
        "whoever has ended is dropped while others are admitted",
        "leaving late",
        (("      if tonumber(ends[index]) <= line.clock then\n", "      if false then\n"),),
    ),
    Rule(
        "a call holds the slot for claim_within",
        "calm",
        (("line.clock + config.claim_within\n", "line.clock + config.session_ttl\n"),),
    ),
    Rule(
        "a first contact holds the slot no longer than a call",
        "calm",
        (("line.clock + math.min(60000, config.claim_within)", "line.clock + config.session_ttl"),),
    ),
    Rule(
        "a visit that ran out is spent",
        "sleepy",
        (("      spent[#spent + 1] = line.clock\n      spent[#spent + 1] = id\n", ""),),
    ),
    Rule(
        "who was called in vain twice is spent",
        "sleepy",
        (("local target = before[index] and spent or missed", "local target = missed"),),
    ),
    Rule(
        "who was called in vain once goes back in line",
        "sleepy",
        (("local target = before[index] and spent or missed", "local target = spent"),),
    ),
    Rule(
        "entries of this call's visitors that have ended are removed before their tickets are read",
        "sleepy",
        (("    if score and session_ends <= line.clock then\n      ended", "    if false then\n      ended"),),
    ),
    Rule(
        "each visit purges",
        "calm",
        (("  purge_ended(line, 200)\n", ""),),
    ),
    Rule(
        "each tick purges",
        "ticking",
        (("local more = purge_ended(line, 500)\n", "local more = false\n"),),
    ),
    Rule(
        "the tenant clock goes on by one step at most",
        "clocks",
        (
            (
                "math.max(0, math.min(line.now - state.last, line.config.clock_step * 1000))",
                "math.max(0, line.now - state.last)",
            ),
        ),
    ),
    Rule(
        "the tenant clock never goes back",
        "clocks",
        (
            (
                "math.max(0, math.min(line.now - state.last, line.config.clock_step * 1000))",
                "math.min(line.now - state.last, line.config.clock_step * 1000)",
            ),
        ),
    ),
    Rule(
        "a present visitor's hold is renewed",
        "calm",
        (("    if later - ends >= config.waiting_ttl / 4 then\n", "    if false then\n"),),
    ),
    Rule(
        "a visit is renewed by its visitor's presence",
        "calm",
        (("  if later - ends >= config.session_ttl / 4 or", "  if false or"),),
    ),
    Rule(
        "session_max ends a visit that is renewed",
        "calm",
        (
            (
                "  return math.min(base + config.session_ttl, since + config.session_max)\n",
                "  return base + config.session_ttl\n",
            ),
        ),
    ),
    Rule(
        "unseen first contacts fill a tenth of the quota at most",
        "crowd",
        ((" or unseen >= math.max(10, math.floor(config.quota / 10)) then", " then"),),
    ),
    Rule(
        "a first contact waits for those who are about to confirm a place",
        "crowd",
        (("line.clock - state.unconfirmed < config.confirm_within or unseen", "unseen"),),
    ),
    Rule(
        "an unconfirmed visitor is not stored",
        "calm",
        (
            (
                "    state.unconfirmed = line.clock\n    return UNCONFIRMED\n",
                (
                    "    state.unconfirmed = line.clock\n"
                    "    put(book, visit.fresh, place, line.clock + config.waiting_ttl)\n    return UNCONFIRMED\n"
                ),
            ),
        ),
    ),
    Rule(
        "a drawn place is confirmed within confirm_within",
        "sleepy",
        (("in_line = not spent and visit.ends > clock\n", "in_line = not spent\n"),),
    ),
    Rule(
        "a place is kept for return_within after its hold",
        "sleepy",
        (
            (
                "    in_line = not spent and visit.ends + config.return_within > clock\n",
                "    in_line = not spent and visit.ends > clock\n",
            ),
        ),
    ),
    Rule(
        "a place is not kept longer than return_within",
        "sleepy",
        (
            (
                "    in_line = not spent and visit.ends + config.return_within > clock\n",
                "    in_line = not spent\n",
            ),
        ),
    ),
    Rule(
        "leaving ends a session for good",
        "leaving",
        (("    redis.call('ZADD', KEYS[5], line.clock, id)\n    line.state.left", "    line.state.left"),),
    ),
    Rule(
        "a closed tab shortens the hold",
        "closing",
        (("math.min(ends, line.clock + line.config.leave_hold)", "ends"),),
    ),
    Rule(
        "a visit whose last tab closed is not restored",
        "closing",
        (
            (
                (
                    "    redis.call('ZADD', KEYS[2], math.min(ends, line.clock + line.config.leave_hold), id)\n"
                    "    redis.call('ZADD', KEYS[5], line.clock, id)\n"
                ),
                "    redis.call('ZADD', KEYS[2], math.min(ends, line.clock + line.config.leave_hold), id)\n",
            ),
        ),
    ),
    Rule(
        "the next visit takes a closed tab back",
        "closing for good",
        (("(last or promised > ends) and later > ends", "last and later > ends"),),
    ),
    # -- the ticket
    Rule(
        "who is in gone does not come back",
        "leaving",
        (("  if book.gone[id] or visit.generation", "  if visit.generation"),),
    ),
    Rule(
        "a revoked id is remembered",
        "edits",
        (("  redis.call('ZADD', KEYS[5], line.clock, id)\nend\nline.state.revoked", "end\nline.state.revoked"),),
    ),
    Rule(
        "a flushed ticket is worthless",
        "flushes",
        (("visit.generation ~= config.generation or ", ""),),
    ),
    Rule(
        "a flush that the store lost is known by tickets",
        "flushes",
        (("  if generation > line.config.generation then\n    empty_line(line, generation)\n  end\n", ""),),
    ),
    Rule(
        "a flush that the store lost is known by processes",
        "flushes",
        ((" or line.config.generation < known_generation then", " then"),),
    ),
    Rule(
        "a flush is given back with settings that are as new",
        "flushes",
        (("if not (is_newer or is_flushed) then", "if not is_newer then"),),
    ),
    Rule(
        "tickets that were worthless stay so when return_within grows",
        "edits",
        (("worthless = math.max(worthless, line.clock - line.config.return_within)", "worthless = 0"),),
    ),
    Rule(
        "ids are remembered for the longest hold that was ever in force",
        "shorter",
        (("    keep = math.max(keep, line.config.keep)\n", ""),),
    ),
    Rule(
        "ids are remembered for a hold and return_within",
        "edits",
        (
            ("keep = math.max(keep, longest + phase.return_within)", "keep = phase.return_within"),
            ("    keep = math.max(keep, line.config.keep)\n", ""),
        ),
    ),
    # -- launches
    Rule(
        "a phase begins at its time",
        "launches",
        (("if turns_at > 0 and line.now >= turns_at then", "if turns_at > 0 and line.now >= turns_at + 2000000 then"),),
    ),
    Rule(
        "a phase that has begun does not come back",
        "launches",
        (("if turns_at > 0 and line.now >= turns_at then", "if turns_at + line.config.turn > 0 then"),),
    ),
    Rule(
        "a place by lot is what the seed says",
        "launches longer",
        (("math.fmod(tonumber(drawn:sub(1, 13), 16), 999999)", "math.fmod(line.now, 999999)"),),
    ),
    Rule(
        "who confirms after the start takes no part in the draw",
        "launches longer",
        ((" or visit.state == 0 and line.config.window ~= opened then", " then"),),
    ),
    Rule(
        "no place by lot is shown before the start",
        "launches longer",
        (("WAITING, is_hidden and window or score", "WAITING, score"),),
    ),
    Rule(
        "no position in a shuffled pre-queue is shown before the start",
        "launches longer",
        (("if not (line.recovering or is_hidden) then", "if not line.recovering then"),),
    ),
    Rule(
        "who takes part in a draw has an id that nobody could choose",
        "launches longer",
        (("visit.id, visit.renamed = visit.fresh, true", "visit.renamed = true"),),
    ),
    Rule(
        "tickets that ended before a phase stay worthless in it",
        "launches longer",
        (("config.worthless = math.max(config.worthless, line.clock - config.return_within)", "config.worthless = 0"),),
    ),
    Rule(
        "ids are remembered for the longest hold of all phases",
        "launches longer",
        (("keep = math.max(keep, longest + phase.return_within)", "keep = longest + phase.return_within"),),
    ),
    Rule(
        "settings that were lost are given back before anybody is decided on",
        "edits lost",
        (("line.config.version < known_version or ", ""),),
    ),
    Rule(
        "a visit that a former epoch admitted goes on",
        "long visits",
        (("  return visit.state == 2 and line.formers[visit.epoch] and", "  return false and"),),
    ),
    Rule(
        "an admitted ticket of a former epoch turns a called or waiting entry into a visit",
        "long visits",
        (("  if not is_admitted and is_former_visit(line, visit) then", "  if false then"),),
    ),
    Rule(
        "an ended visit is never put straight in",
        "losses",
        (
            (
                "  return visit.state == 2 and line.formers[visit.epoch] and visit.ends > line.clock\n",
                (
                    "  return visit.state == 2 and line.formers[visit.epoch]\n"
                    "    and visit.ends + line.config.return_within > line.clock\n"
                ),
            ),
        ),
    ),
    Rule(
        "a restored visit keeps the end that its ticket names",
        "shorter lost",
        (
            (
                "  local ends = math.max(visit.ends, session_end(line, visit.since))\n",
                "  local ends = session_end(line, visit.since)\n",
            ),
        ),
    ),
    Rule(
        "an emergency ticket is admitted only while there is room",
        "emergencies",
        (("    if not line.closed and active < config.quota then\n", "    if not line.closed then\n"),),
    ),
    Rule(
        "an emergency ticket admits nobody while the line is closed",
        "emergencies",
        (("    if not line.closed and active < config.quota then\n", "    if active < config.quota then\n"),),
    ),
    Rule(
        "an emergency ticket whose visit ran out is worthless",
        "emergencies",
        (("  elseif not spent and visit.ends", "  elseif visit.ends"),),
    ),
    Rule(
        "the callers' clock carries over what a failover lost",
        "losses",
        (("math.max(state.clock + line.elapsed, caller_clock * 1000)", "state.clock + line.elapsed"),),
    ),
    Rule(
        "the callers' clock goes on when the store lost everything",
        "losses",
        (("caller_clock > 0 and caller_clock * 1000 or line.now", "line.now"),),
    ),
    Rule(
        "a new run id begins an epoch",
        "losses",
        (("line.missing or state.run ~= line.run or next(evidence)", "line.missing or next(evidence)"),),
    ),
    Rule(
        "a missing state begins a recovery when somebody knows the tenant",
        "losses",
        (("  if line.missing and not known then", "  if line.missing then"),),
    ),
    Rule(
        "a ticket of an unknown epoch begins an epoch",
        "careless",
        (("visit.epoch ~= state.epoch and not line.formers[visit.epoch]\n", "false\n"),),
    ),
    Rule(
        "a ticket with a higher sequence number begins an epoch",
        "going back",
        (("visit.epoch == state.epoch and visit.sequence > state.sequence", "false"),),
    ),
    Rule(
        "former epochs are remembered",
        "losses",
        (("  if state.epoch > 0 then\n    line.formers[state.epoch] = line.clock\n  end\n", ""),),
    ),
    Rule(
        "epochs never share a number",
        "epochs",
        (("newest + 1 + line.now % 1000000", "newest + 1"),),
    ),
    Rule(
        "a new epoch closes admission for recovery_hold",
        "losses",
        (("state.closed_until = line.clock + line.config.recovery_hold", "state.closed_until = line.clock"),),
    ),
    Rule(
        "no position is named while recovering",
        "losses",
        (("if not (line.recovering or is_hidden) then", "if not is_hidden then"),),
    ),
    Rule(
        "a new epoch leaves places free above the last one",
        "skewed",
        (("math.max(state.place, line.now, place) + 5000000", "math.max(state.place, line.now, place)"),),
    ),
    Rule(
        "a new epoch's places are above those that tickets show",
        "jumps lost",
        (
            ("math.max(state.place, line.now, place) + 5000000", "math.max(state.place, line.now) + 5000000"),
            ("    line.state.place = math.max(line.state.place, place)\n", ""),
        ),
    ),
)
