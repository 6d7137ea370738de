"""The share of each account's items that is rejected, and when diverting them is no longer right.

A plan that was broken by us rejects everybody's items at once: then the worker must stop,
and the items wait in ``events.raw`` instead of piling up among the rejects. One producer
that sends rubbish must not stop the others: its rejects raise the alarm and no more. See
docs/decisions/reject-alarm.md.
"""

from typing import Final, Literal

Mode = Literal["guard", "strict", "warn"]
# Reasons that our own plan and code make; the others are the item's own.
OURS: Final = frozenset({"bad_property", "source_not_allowed", "unplanned_event", "fault"})
# Once this many times the least items are counted, half of all is forgotten: the ratio slides.
_WINDOWS: Final = 5
_HEALTHY_SHARE: Final = 20
_GUARD_ACCOUNTS: Final = 2


class _Count:
    """Latest items of one account: all, rejected, rejected by our plan or code."""

    __slots__ = ("items", "ours", "rejects")

    def __init__(self) -> None:
        self.items = self.rejects = self.ours = 0


class RejectGuard:
    """Counts items and rejects by account; under ``least_items`` an account is not judged."""

    def __init__(self, *, ratio: float, least_items: int, mode: Mode) -> None:
        self._ratio, self._least, self._mode = ratio, least_items, mode
        self._counts: dict[str, _Count] = {}

    def note(self, account: str, reason: str = "") -> None:
        """Count an item; ``reason`` is that of its reject, if it was rejected."""
        count = self._counts.get(account)
        if count is None:
            count = self._counts[account] = _Count()
        count.items += 1
        # A duplicate is a good item that came before.
        if reason and reason != "duplicate_message_id":
            count.rejects += 1
            count.ours += reason in OURS
        if count.items >= self._least * _WINDOWS:
            count.items, count.rejects = count.items // 2, count.rejects // 2
            count.ours //= 2

    def ratios(self) -> dict[str, float]:
        """Return the rejected share of the latest items, by account."""
        return {name: count.rejects / count.items for name, count in self._counts.items()}

    def alarms(self) -> dict[str, float]:
        """Return the ratios of the accounts that are over the limit."""
        judged = {name for name, count in self._counts.items() if count.items >= self._least}
        return {
            name: ratio
            for name, ratio in self.ratios().items()
            if name in judged and ratio >= self._ratio
        }

    def must_stop(self) -> bool:
        """Say whether to stop instead of diverting more."""
        if self._mode == "strict":
            return bool(self.alarms())
        if self._mode == "warn":
            return False
        counts = self._counts.values()
        hit = [c for c in counts if c.items >= self._least and c.ours >= c.items * self._ratio]
        return len(hit) >= _GUARD_ACCOUNTS and not any(self._healthy(count) for count in counts)

    def _healthy(self, count: _Count) -> bool:
        # A few items do not show that an account is well.
        enough = count.items * _HEALTHY_SHARE >= self._least
        return enough and count.ours < count.items * self._ratio
