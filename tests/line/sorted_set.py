"""A sorted set as the server keeps one: ordered by score, then by the bytes of the member."""

from __future__ import annotations

from bisect import bisect_left, insort


class SortedSet:
    """Members with scores; `score_of` finds one, the rest are ranges in order."""

    def __init__(self) -> None:
        self.scores: dict[bytes, int] = {}
        self._ordered: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, member: bytes) -> bool:
        return member in self.scores

    def add(self, member: bytes, score: int) -> None:
        self.remove(member)
        self.scores[member] = score
        insort(self._ordered, (score, member))

    def remove(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self._ordered[bisect_left(self._ordered, (score, member))]
        return True

    def clear(self) -> None:
        self.scores.clear()
        self._ordered.clear()

    def score_of(self, member: bytes) -> int | None:
        return self.scores.get(member)

    def rank(self, member: bytes) -> int:
        return bisect_left(self._ordered, (self.scores[member], member))

    def slice(self, start: int, count: int) -> list[tuple[int, bytes]]:
        return self._ordered[start : start + count]

    def count_below(self, score: int) -> int:
        """How many members have a lower score."""
        return bisect_left(self._ordered, (score, b""))

    def up_to(self, score: int, most: int) -> list[bytes]:
        """The first `most` members whose score is at most `score`."""
        end = bisect_left(self._ordered, (score + 1, b""))
        return [member for _, member in self._ordered[: min(end, most)]]
