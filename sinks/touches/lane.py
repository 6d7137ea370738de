"""A lane: one partition of touches, from the record to the receipt.

Each tick writes one page: `sending` entries of new touches, final entries and receipts
of answered ones, and the input offset. Calls start only after the page that announces
them is committed, and run on while later pages are written: a slow provider holds up
nobody else. The ledger carries open touches, so the offset may pass them.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from schemas import clock
from schemas.crash import crash_point
from schemas.rejects import Reject, rejected
from schemas.settings import Settings
from schemas.touches import DeliveryStatus, Receipt, Touch, decode_touch
from sinks.touches.channels import Answer, Channel
from sinks.touches.journal import CommitOffset, Journal, Page, restore_ledger
from sinks.touches.ledger import Entry, Failure, Ledger

# Open touches of a partition at a time: bounds memory, and the calls repeated after a crash.
MAX_OPEN: Final = 1000
# A ledger entry carries the touch, and must itself fit into one record.
MAX_TOUCH_BYTES: Final = 512 * 1024

_log = structlog.get_logger("siyu.deliver")


class Record(Protocol):
    """What a lane reads of a consumer's record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class DeliveryLane:
    """Owns a partition from fencing to draining; `run` is its one task."""

    def __init__(
        self,
        settings: Settings,
        partition: int,
        channels: Mapping[str, Channel | None],
        commit_offset: CommitOffset,
    ) -> None:
        self.partition, self.ready = partition, False
        self._settings, self._channels = settings, channels
        self._journal = Journal(settings, partition, commit_offset)
        self._ledger = Ledger()
        self._inbox: deque[Record] = deque()
        self._answers: deque[tuple[Entry, Answer]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._wake, self._stopping = asyncio.Event(), asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Tell whether more records may be handed in."""
        return self.ready and len(self._inbox) + len(self._calls) < MAX_OPEN

    def accept(self, records: Sequence[Record]) -> None:
        """Take records in order; those that come while the lane is not ready are read again."""
        if self.ready and not self._stopping.is_set():
            self._inbox.extend(records)
            self._wake.set()

    async def run(self) -> None:
        """Fence, restore, resolve what a crash left open, then deliver until `stop`."""
        try:
            await self._journal.open()
            self._ledger, unreadable = await restore_ledger(self._settings, self.partition)
            unresolved = self._ledger.unresolved()
            _log.info(
                "partition taken",
                partition=self.partition,
                known_touches=len(self._ledger),
                unresolved=len(unresolved),
                unreadable=unreadable,
            )
            for entry in unresolved:
                self._resolve(entry)
            self.ready = True
            while not self._stopping.is_set() or self._calls or self._answers:
                await self._wake.wait()
                self._wake.clear()
                await self._tick()
        finally:
            for call in self._calls:
                call.cancel()
            await self._journal.close()

    def stop(self) -> None:
        """Let running calls end and their receipts be written; touches not begun stay in Kafka."""
        self._stopping.set()
        self._wake.set()

    def _resolve(self, entry: Entry) -> None:
        """Take up a touch whose sender ended between the announcement and the receipt."""
        channel = self._channel_of(entry)
        if channel is not None and channel.idempotent:
            self._start(entry, channel)
            return
        detail = "the sender ended during the call, and the channel has no idempotency key"
        self._answered(entry, Answer("unknown", 1, "interrupted", detail))

    def _channel_of(self, entry: Entry) -> Channel | None:
        if entry.touch is None or entry.step >= len(entry.touch.via):
            return None
        return self._channels.get(entry.touch.via[entry.step])

    def _start(self, entry: Entry, channel: Channel) -> None:
        task = asyncio.create_task(self._call(entry, channel))
        self._calls.add(task)

    async def _call(self, entry: Entry, channel: Channel) -> None:
        assert entry.touch is not None  # noqa: S101 - _channel_of found the channel in it
        try:
            answer = await channel.send(entry.touch, self._stopping)
        except Exception as error:  # noqa: BLE001 - a channel's fault must cost one touch, not the process
            _log.exception("channel failed", touch_id=entry.touch_id)
            answer = Answer("unknown", 1, "channel_error", repr(error)[:300])
        crash_point("deliver.called")
        if (task := asyncio.current_task()) is not None:
            self._calls.discard(task)
        if answer.status == "interrupted":
            self._wake.set()
        else:
            self._answered(entry, answer)

    def _answered(self, entry: Entry, answer: Answer) -> None:
        self._answers.append((entry, answer))
        self._wake.set()

    async def _tick(self) -> None:
        page = Page()
        if not self._stopping.is_set():
            self._take(page)
        self._settle(page)
        if not page:
            return
        if page.receipts:
            crash_point("deliver.before_final")
        await self._journal.write(page)
        if any(entry.state == "sending" for entry in page.entries):
            crash_point("deliver.sending_committed")
        for entry in page.entries:
            self._ledger.apply(entry)
            channel = self._channel_of(entry) if entry.state == "sending" else None
            if channel is not None:
                self._start(entry, channel)

    def _take(self, page: Page) -> None:
        """Put the records that came in on the page, each touch id once."""
        begun: set[str] = set()
        while self._inbox:
            record = self._inbox.popleft()
            page.next_offset = record.offset + 1
            touch = _read(record, page)
            if touch is None or touch.touch_id in begun or self._ledger.knows(touch.touch_id):
                continue
            begun.add(touch.touch_id)
            self._plan(
                Entry(
                    touch_id=touch.touch_id, state="sending", time_ms=clock.now_ms(), touch=touch
                ),
                touch,
                page,
            )

    def _settle(self, page: Page) -> None:
        """Put the answers on the page: a receipt, or the next channel."""
        while self._answers:
            entry, answer = self._answers.popleft()
            touch = entry.touch
            if touch is None:
                continue
            entry = msgspec.structs.replace(entry, attempts=entry.attempts + answer.attempts)
            if answer.status == "sent" or answer.status == "unknown":  # noqa: PLR1714 - narrows
                outcome = Failure(touch.via[entry.step], answer.code, answer.detail)
                _close(entry, touch, answer.status, outcome, page)
                continue
            failure = Failure(touch.via[entry.step], answer.code, answer.detail, called=True)
            following = msgspec.structs.replace(
                entry,
                step=entry.step + 1,
                failures=[*entry.failures, failure],
                time_ms=clock.now_ms(),
            )
            self._plan(following, touch, page)

    def _plan(self, entry: Entry, touch: Touch, page: Page) -> None:
        """Announce the next channel that can be called; with none left, the touch failed."""
        failures = list(entry.failures)
        for step in range(entry.step, len(touch.via)):
            name = touch.via[step]
            if self._channels.get(name) is not None:
                page.entries.append(msgspec.structs.replace(entry, step=step, failures=failures))
                return
            known = name in self._channels
            failures.append(Failure(name, "not_configured" if known else "unknown_channel"))
        called = [failure for failure in failures if failure.called]
        last = (called or failures or [Failure("", "no_channel", "the touch names none")])[-1]
        why = "; ".join(f"{f.channel} {f.code} {f.detail}".rstrip() for f in failures)
        outcome = Failure(last.channel, last.code, why or last.detail)
        _close(entry, touch, "failed", outcome, page)


def _close(
    entry: Entry, touch: Touch, status: DeliveryStatus, outcome: Failure, page: Page
) -> None:
    now_ms = clock.now_ms()
    page.entries.append(entry.closed(status, now_ms))
    page.receipts.append(
        Receipt(
            touch_id=touch.touch_id,
            rule=touch.rule,
            rule_version=touch.rule_version,
            user=touch.user,
            channel=outcome.channel,
            template=touch.template,
            status=status,
            attempts=entry.attempts,
            time_ms=now_ms,
            variant=touch.variant,
            code=outcome.code,
            detail=outcome.detail,
        )
    )


def _read(record: Record, page: Page) -> Touch | None:
    """Return the record's touch; what is none goes to the rejects with its bytes."""
    body = record.value or b""
    reject: Reject
    try:
        touch = decode_touch(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reject = Reject("deliver", "not_a_touch", str(error))
    else:
        if len(body) > MAX_TOUCH_BYTES:
            reject = Reject("deliver", "touch_too_large", f"over {MAX_TOUCH_BYTES} bytes")
        elif not touch.touch_id:
            reject = Reject("deliver", "no_touch_id", "touchId is empty")
        else:
            return touch
    where = {"partition": record.partition, "offset": record.offset}
    page.rejects.append((record.key, rejected(reject, None, body, **where)))
    return None
