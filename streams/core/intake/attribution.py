"""Marketing channels: the one vocabulary of ``context.channel``, and how each hint maps to it.

A channel is ``<kind>`` or ``<kind>:<detail>``; group by what stands before the colon.

| channel | meaning | taken from |
|---|---|---|
| ``campaign:<source>`` | a tagged link (投放) | ``utm_source``, lower-cased |
| ``qr:<scene>`` or ``qr`` | a QR code (渠道活码), with its scene | ``qrscene_…``, scan scenes |
| ``share`` | another user's share card (裂变) | share depth, scenes 1007 1008 1036 1044 1096 |
| ``search`` | WeChat's search (搜一搜) | scenes 1005 1006 1027 1042 1053 1106 |
| ``ad`` | paid places in WeChat | scenes 1045 1046 1067 1068 1084 1095 |
| ``official_account`` | its menu, an article, its chat | scenes 1020 1035 1058 1074 1091 1144 |
| ``message`` | template, subscription or service message | scenes 1014 1043 1073 1107 |
| ``mini_program`` | another mini-program | scenes 1037 1038 |
| ``app`` | an app opened the mini-program | scene 1069 |
| ``payment`` | WeChat Pay's result page | scene 1034 |
| ``direct`` | recent, pinned, favourites | scenes 1001 1010 1022 1023 1089 1103 1104 |
| ``scene:<n>`` | a scene that is not listed here | any other scene |

A client may set ``context.channel`` itself: a string of it is kept as it is. Scenes:
WeChat's "场景值列表" (developers.weixin.qq.com/miniprogram/dev/reference/scene-list.html).
"""

from collections.abc import Mapping
from typing import Any, Final

_KINDS_BY_SCENE: Final = {
    "share": (1007, 1008, 1036, 1044, 1096),
    "qr": (1011, 1012, 1013, 1025, 1031, 1032, 1047, 1048, 1049),
    "search": (1005, 1006, 1027, 1042, 1053, 1106),
    "ad": (1045, 1046, 1067, 1068, 1084, 1095),
    "official_account": (1020, 1035, 1058, 1074, 1091, 1144),
    "message": (1014, 1043, 1073, 1107),
    "mini_program": (1037, 1038),
    "app": (1069,),
    "payment": (1034,),
    "direct": (1001, 1010, 1022, 1023, 1089, 1103, 1104),
}
_BY_SCENE: Final = {
    str(scene): kind for kind, scenes in _KINDS_BY_SCENE.items() for scene in scenes
}
_DETAIL_MAX: Final = 128


def of_campaign(source: object) -> str | None:
    """Return the channel of a ``utm_source``; ``None`` if it is empty or no string."""
    if not isinstance(source, str) or not (name := source.strip().lower()):
        return None
    return f"campaign:{name[:_DETAIL_MAX]}"


def of_qr(scene: str) -> str:
    """Return the channel of a scanned QR code."""
    name = scene.removeprefix("qrscene_").strip()
    return f"qr:{name[:_DETAIL_MAX]}" if name else "qr"


def of_scene(scene: object) -> str | None:
    """Return the channel of a mini-program scene: 1007, "1007" or Sensors' "wx-1007"."""
    number = str(scene).removeprefix("wx-")
    # Sensors writes 未取到值 where WeChat gave no scene.
    if not (number.isascii() and number.isdigit() and len(number) <= 6):  # noqa: PLR2004 - scenes have four digits today
        return None
    return _BY_SCENE.get(number, f"scene:{number}")


def of_context(context: Mapping[str, Any]) -> str | None:
    """Return the channel of a Segment context: what it says itself, its campaign, its scene."""
    if isinstance(channel := context.get("channel"), str) and channel.strip():
        return channel.strip()[:_DETAIL_MAX]
    campaign = context.get("campaign")
    if isinstance(campaign, dict) and (channel := of_campaign(campaign.get("source"))):
        return channel
    return of_scene(context["scene"]) if "scene" in context else None
