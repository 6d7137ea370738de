"""Checks of whether a rule's sends can go out: by what this release and the settings can send.

Loading a rulebook does not ask this: a worker or a backtest need not have deliver's settings,
and a release that knows fewer channels must go on with the rulebook that is in force.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from schemas.channels import CHANNELS, missing_settings
from schemas.faults import Fault, Place, suggest
from schemas.rules import Rule
from schemas.settings import Settings
from streams.authoring.lint import placed_steps

_WAY_OUT: Final = "name one that can send as well, like log, or leave the rule a draft"


@dataclass(frozen=True, slots=True)
class ChannelFault:
    """A fault of a rule's channels; its place begins at the rule."""

    level: Literal["error", "warning"]
    rule: str
    fault: Fault


def check_channels(rules: Iterable[Rule], settings: Settings) -> Iterator[ChannelFault]:
    """Yield what is wrong with the channels of rules, by rule and step; then what is passed over.

    An unknown channel is an error. A send none of whose channels can send is an error in a
    live rule, else a warning: no other status sends. A channel that cannot send beside one
    that can is a warning, one for the whole rulebook: its cause is one.
    """
    passed_over: dict[str, list[tuple[str, Place]]] = {}
    for rule in rules:
        for step, place in placed_steps(rule.steps):
            if (send := step.send) is None:
                continue
            via = (*place, "send", "via")
            known = [channel for channel in send.via if channel in CHANNELS]
            for i, channel in enumerate(send.via):
                if channel not in CHANNELS:
                    yield ChannelFault("error", rule.id, _unknown(channel, (*via, i)))
            idle = [channel for channel in known if _obstacle(channel, settings)]
            if len(idle) < len(known):
                for channel in idle:
                    place_of = (*via, send.via.index(channel))
                    passed_over.setdefault(channel, []).append((rule.id, place_of))
            elif known:
                level: Literal["error", "warning"] = "error" if rule.status == "live" else "warning"
                yield ChannelFault(level, rule.id, _unsent(idle, settings, via))
    for channel, sends in passed_over.items():
        rule_id, place = sends[0]
        yield ChannelFault("warning", rule_id, _passed_over(channel, len(sends), settings, place))


def _unknown(channel: str, place: Place) -> Fault:
    hint = suggest(channel, CHANNELS) or f"channels are {', '.join(CHANNELS)}"
    return Fault(place, f"unknown channel {channel}", hint)


def _unsent(channels: list[str], settings: Settings, place: Place) -> Fault:
    obstacles = dict.fromkeys(_obstacle(channel, settings) for channel in channels)
    return Fault(place, f"nothing can send it: {'; '.join(obstacles)}", _WAY_OUT)


def _passed_over(channel: str, sends: int, settings: Settings, place: Place) -> Fault:
    count = "1 send goes" if sends == 1 else f"{sends} sends go"
    hint = f"{count} over other channels of their via"
    return Fault(place, _obstacle(channel, settings), hint)


def _obstacle(channel: str, settings: Settings) -> str:
    """Return why a known channel cannot send, or nothing."""
    if not CHANNELS[channel].sender:
        return f"{channel} has no sender in this release"
    missing = missing_settings(channel, settings)
    return f"{channel} needs {', '.join(missing)}" if missing else ""
