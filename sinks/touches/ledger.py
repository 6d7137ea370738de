"""The ledger of touches: what was begun and what became of it, so that none goes out twice."""

from typing import Final, Literal

import msgspec

from schemas.touches import DeliveryStatus, Touch

State = Literal["sending", "sent", "failed", "unknown"]


class Failure(msgspec.Struct, rename="camel"):
    """Why a channel did not take a touch; ``called`` is false where it could not be asked."""

    channel: str
    code: str
    detail: str = ""
    called: bool = False


class Entry(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One record of ``touches.ledger``; the last one of a touch id counts.

    A ``sending`` entry is written before channel ``touch.via[step]`` is called and
    carries the touch, so that recovery needs no other topic. ``attempts`` and
    ``failures`` belong to the channels before it. A final entry carries no user.
    """

    touch_id: str
    state: State
    time_ms: int
    step: int = 0
    attempts: int = 0
    failures: list[Failure] = []
    touch: Touch | None = None

    def closed(self, status: DeliveryStatus, time_ms: int) -> "Entry":
        """Return the final entry of the same touch."""
        return Entry(touch_id=self.touch_id, state=status, time_ms=time_ms)


encode_entry: Final = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Ledger:
    """One partition's entries in memory: the touch where it is open, the id where it is closed."""

    def __init__(self) -> None:
        self._closed: set[str] = set()
        self._open: dict[str, Entry] = {}

    def apply(self, entry: Entry) -> None:
        """Take one committed entry, in the order of the log."""
        if entry.state == "sending":
            # Closed is for ever: nothing that follows may open a touch again.
            if entry.touch_id not in self._closed:
                self._open[entry.touch_id] = entry
            return
        self._open.pop(entry.touch_id, None)
        self._closed.add(entry.touch_id)

    def apply_record(self, key: bytes | None, value: bytes | None) -> bool:
        """Take one record of the topic; false if it cannot be read.

        What cannot be read counts as closed: a touch that may have gone out must
        not go out again.
        """
        try:
            self.apply(_decode(value or b""))
        except msgspec.MsgspecError:
            touch_id = (key or b"").decode("utf-8", "backslashreplace")
            self._open.pop(touch_id, None)
            self._closed.add(touch_id)
            return False
        return True

    def knows(self, touch_id: str) -> bool:
        """Tell whether the touch was begun, whatever became of it."""
        return touch_id in self._closed or touch_id in self._open

    def unresolved(self) -> list[Entry]:
        """Return the entries of touches that were begun and not closed."""
        return list(self._open.values())

    def __len__(self) -> int:
        return len(self._closed) + len(self._open)
