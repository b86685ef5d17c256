"""Every key and channel name that Ropeline has in Redis or Valkey; nothing else spells one.

A tenant's keys share the hash tag ``{tenant}``, so that one tenant is one cluster slot and a script may touch all of
them. Tenant names are checked before they come here (``[a-z0-9-]``, at most 63), so a name can neither break out of its
tag nor meet another tenant's keys. `README.md` beside this file is the data dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AccessKeys",
    "CronKeys",
    "DirectoryKeys",
    "LockKeys",
    "QueueKeys",
    "StreamKeys",
    "TenantKeys",
    "changes_channel",
    "locks_key",
    "mark_key",
    "queues_key",
]


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """The keys of one tenant's line under `namespace`, in the order in which every line script takes them."""

    namespace: str
    tenant: str

    @property
    def sessions(self) -> str:
        """ZSET: session id -> score; see ADR 0003 for what its sign says."""
        return self._key("sessions")

    @property
    def pool(self) -> str:
        """ZSET: session id -> end, tenant ms."""
        return self._key("pool")

    @property
    def state(self) -> str:
        """HASH: tenant clock, epoch, last place, token bucket, counters."""
        return self._key("state")

    @property
    def config(self) -> str:
        """HASH: the tenant's settings and their version."""
        return self._key("config")

    @property
    def gone(self) -> str:
        """ZSET: ids that left or were revoked -> tenant ms."""
        return self._key("gone")

    @property
    def spent(self) -> str:
        """ZSET: ids whose visit ran out -> tenant ms."""
        return self._key("spent")

    @property
    def missed(self) -> str:
        """ZSET: ids that were called in vain once -> tenant ms."""
        return self._key("missed")

    @property
    def joins(self) -> str:
        """HASH: join counts per hashed client prefix, a fixed number of fields."""
        return self._key("joins")

    @property
    def history(self) -> str:
        """STREAM: a sample of the line every ten seconds, capped."""
        return self._key("history")

    @property
    def loop(self) -> str:
        """HASH: what the closed loop has measured of the site in this interval."""
        return self._key("loop")

    @property
    def steps(self) -> str:
        """STREAM: how the closed loop changed the quota in force, and why, capped."""
        return self._key("steps")

    @property
    def audit(self) -> str:
        """STREAM: who changed what."""
        return self._key("audit")

    def change(self, call: str) -> tuple[str, ...]:
        """Those of the line, the audit trail and what is kept of the call: KEYS 1 to 11 of an operator's change."""
        return (*self.line(), self.audit, self._key(f"{call or 'none'}:call"))

    def removal(self, call: str) -> tuple[str, ...]:
        """Those, and the closed loop's: KEYS 1 to 13 of the end of a tenant."""
        return (*self.change(call), self.loop, self.steps)

    def line(self) -> tuple[str, ...]:
        """Those of the line itself, as KEYS 1 to 9 of a line script."""
        return (
            self.sessions,
            self.pool,
            self.state,
            self.config,
            self.gone,
            self.spent,
            self.missed,
            self.joins,
            self.history,
        )

    def all(self) -> tuple[str, ...]:
        """Those of the line, and the closed loop's, as KEYS of `tick`."""
        return (*self.line(), self.loop, self.steps)

    def _key(self, noun: str) -> str:
        return f"{self.namespace}:{{{self.tenant}}}:{noun}"


@dataclass(frozen=True, slots=True)
class DirectoryKeys:
    """The keys that say which tenants there are and who answers for which host; one slot of their own."""

    namespace: str

    @property
    def tenants(self) -> str:
        """HASH: tenant -> its routes, one a line."""
        return f"{{{self.namespace}:directory}}:tenants"

    @property
    def hosts(self) -> str:
        """HASH: route -> tenant."""
        return f"{{{self.namespace}:directory}}:hosts"


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """The operators' keys and who changed them; one slot of their own, which no gate process may touch."""

    namespace: str

    @property
    def keys(self) -> str:
        """HASH: id of a key -> its record (JSON)."""
        return self._key("keys")

    @property
    def audit(self) -> str:
        """STREAM: who changed what."""
        return self._key("audit")

    def change(self, call: str) -> tuple[str, ...]:
        """Those, and what is kept of a call: KEYS 1 to 3 of each script."""
        return (self.keys, self.audit, self._key(f"{call or 'none'}:call"))

    def _key(self, noun: str) -> str:
        return f"{{{self.namespace}:access}}:{noun}"


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue of jobs under `namespace`, in one cluster slot; `README.md` says what each of them holds."""

    namespace: str
    stage: str
    queue: str

    def jobs(self) -> tuple[str, ...]:
        """The jobs, their states, the clocks and the wake-up token: KEYS 1 to 23 of most queue scripts."""
        nouns = "body large meta result unique pending suspects scheduled retry active parked dead completed cancelled conf wake held keys rates outbox outgoing blocked parts"
        return tuple(self._key(noun) for noun in nouns.split())

    def step(self) -> tuple[str, ...]:
        """Those, the lanes' last calls, and the workers."""
        return (*self.jobs(), self._key("calls"), self._key("workers"))

    def outbox(self) -> tuple[str, ...]:
        """What is handed over to other queues."""
        return (self._key("outbox"), self._key("outgoing"))

    def take_over(self) -> tuple[str, ...]:
        """The jobs, and which entries of other queues' outboxes have arrived."""
        return (*self.jobs(), self._key("seen"))

    def forget(self) -> tuple[str, ...]:
        """Which entries have arrived."""
        return (self._key("seen"),)

    def pause(self) -> tuple[str, ...]:
        """What pausing and settings touch."""
        return (self._key("conf"), self._key("wake"))

    @property
    def wake(self) -> str:
        """LIST: at most one token for an idle worker."""
        return self._key("wake")

    def state(self, name: str) -> str:
        """ZSET: the jobs in a state, or `suspects`, those of the pending ones that have lost a lease."""
        return self._key(name)

    def _key(self, noun: str) -> str:
        return f"{self.namespace}:{{{self.stage}:{self.queue}}}:{noun}"


@dataclass(frozen=True, slots=True)
class StreamKeys(QueueKeys):
    """The keys of a queue whose pending and active jobs are in streams, one for each priority and one for suspects."""

    def jobs(self) -> tuple[str, ...]:
        """The jobs, their states, the clocks and the wake-up token: KEYS 1 to 32 of most scripts on such a queue."""
        nouns = "body large meta result unique entries scheduled retry parked dead completed cancelled conf wake held keys rates outbox outgoing blocked parts"
        return (*(self._key(noun) for noun in nouns.split()), *self.streams())

    def streams(self) -> tuple[str, ...]:
        """STREAM: the pending and active jobs of each priority, the highest first, and at last the suspects."""
        return (*(self._key(f"pending{priority}") for priority in range(9, -1, -1)), self._key("suspects"))


def mark_key(namespace: str, stage: str, mark: str) -> str:
    """STRING: there for as long as an effect counts as done; `mark`: 32 hexadecimal digits. A slot of its own."""
    return f"{namespace}:{{{stage}:once:{mark}}}:mark"


def queues_key(namespace: str, stage: str) -> str:
    """ZSET: queue -> wall ms of its first job; a slot of its own."""
    return f"{namespace}:{{{stage}}}:queues"


@dataclass(frozen=True, slots=True)
class CronKeys:
    """The keys of the cron jobs of one queue, in the queue's slot: a tick is recorded and its job enqueued by one script."""

    namespace: str
    stage: str
    queue: str

    def cron(self) -> tuple[str, ...]:
        """The definitions and the last ticks."""
        return (self._key("cron"), self._key("ticks"))

    def fire(self) -> tuple[str, ...]:
        """The queue's own keys (`QueueKeys.jobs`), and those."""
        return (*QueueKeys(self.namespace, self.stage, self.queue).jobs(), *self.cron())

    def _key(self, noun: str) -> str:
        return f"{self.namespace}:{{{self.stage}:{self.queue}}}:{noun}"


@dataclass(frozen=True, slots=True)
class LockKeys:
    """The keys of one lock of a stage, in a slot of their own; no queue is called `lock:...`, since its name has no colon."""

    namespace: str
    stage: str
    name: str

    @property
    def wake(self) -> str:
        """LIST: at most one token for who waits for the lock."""
        return self._key("wake")

    def lock(self) -> tuple[str, ...]:
        """Who holds it, and the wake-up token: KEYS 1 and 2 of every script on a lock."""
        return (self._key("lock"), self.wake)

    def _key(self, noun: str) -> str:
        return f"{self.namespace}:{{{self.stage}:lock:{self.name}}}:{noun}"


def locks_key(namespace: str, stage: str) -> str:
    """ZSET: name of a lock -> end of its hold; in the slot of `queues_key`."""
    return f"{namespace}:{{{stage}}}:locks"


def changes_channel(namespace: str) -> str:
    """The channel on which gate processes hear that settings changed, a line was flushed or sessions were revoked."""
    return f"{namespace}:changes"
