import pytest

from streams.core.intake.reject_guard import Mode, RejectGuard


def watch(mode: Mode = "guard") -> RejectGuard:
    return RejectGuard(ratio=0.5, least_items=20, mode=mode)


def feed(watch: RejectGuard, account: str, *, good: int = 0, bad: int = 0, why: str = "") -> None:
    for _ in range(good):
        watch.note(account)
    for _ in range(bad):
        watch.note(account, why or "bad_property")


def test_one_bad_producer_raises_the_alarm_and_stops_nobody() -> None:
    guarded = watch()
    feed(guarded, "bad", bad=60)
    feed(guarded, "good", good=60)
    assert guarded.alarms() == {"bad": 1.0}
    assert not guarded.must_stop()


def test_a_single_account_is_never_stopped_by_the_guard() -> None:
    guarded = watch()
    feed(guarded, "only", bad=60)
    assert guarded.alarms()
    assert not guarded.must_stop()


def test_a_plan_that_rejects_every_account_stops() -> None:
    guarded = watch()
    feed(guarded, "one", bad=30)
    assert not guarded.must_stop()
    feed(guarded, "two", good=5, bad=30)
    assert guarded.must_stop()


@pytest.mark.parametrize("why", ["not_json", "missing_field", "too_deep", "no_identifier"])
def test_rubbish_from_everybody_is_no_fault_of_ours(why: str) -> None:
    guarded = watch()
    for account in ("one", "two", "three"):
        feed(guarded, account, bad=60, why=why)
    assert len(guarded.alarms()) == 3
    assert not guarded.must_stop()


def test_too_few_items_say_nothing() -> None:
    strict = watch("strict")
    feed(strict, "one", bad=19)
    assert not strict.alarms()
    feed(strict, "one", bad=1)
    assert strict.must_stop()


def test_duplicates_are_no_rejects() -> None:
    strict = watch("strict")
    feed(strict, "one", bad=60, why="duplicate_message_id")
    assert strict.ratios() == {"one": 0.0}
    assert not strict.must_stop()


def test_warn_never_stops() -> None:
    warned = watch("warn")
    for account in ("one", "two"):
        feed(warned, account, bad=60)
    assert len(warned.alarms()) == 2
    assert not warned.must_stop()


def test_the_alarm_ends_with_the_trouble() -> None:
    guarded = watch()
    feed(guarded, "one", bad=1000)
    feed(guarded, "one", good=200)
    assert not guarded.alarms()
