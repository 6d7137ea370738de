"""Bad bodies for every door: real requests, broken in the ways that clients and attackers do."""

import base64
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from schemas import clock
from streams.sources.sensors.read import java_hash
from streams.sources.wechat.crypto import encrypt, signature
from tests.collect_harness import APPID, CORPID, NEW_AES, TOKEN

TIME, NONCE = "1714037059", "486452656"
_ITEM: Final = (
    b'{"type":"track","event":"product_viewed","userId":"u1","messageId":"m1",'
    b'"timestamp":"2026-01-02T03:04:05.678Z","properties":{"sku":"s1","price":12.5,"n":[1,2]},'
    b'"context":{"campaign":{"source":"douyin"},"channel":"x"},"traits":{"phone":"13800138000"}}'
)
_BATCH: Final = b'{"writeKey":"k-app","sentAt":"2026-01-02T03:04:06Z","batch":[%b,%b]}'
_SENSORS: Final = (
    '{"distinct_id":"d1","login_id":"l1","anonymous_id":"a1","type":"track","event":"$MPLaunch",'
    '"time":1700000000000,"_track_id":5,"_flush_time":1700000000100,"identities":'
    '{"$identity_login_id":"l1","$identity_mp_wx1_openid":"o1","$identity_mobile":"13800138000"},'
    '"properties":{"$scene":"wx-1007","$utm_source":"x","$share_depth":2,"茶":1},"lib":{}}'
).encode()
_XML: Final = (
    "<xml><ToUserName><![CDATA[gh]]></ToUserName><FromUserName><![CDATA[o1]]></FromUserName>"
    "<CreateTime>1714037059</CreateTime><MsgType>event</MsgType><Event>subscribe</Event>"
    "<EventKey>qrscene_优惠</EventKey><ExternalUserID>w1</ExternalUserID><State>s</State>"
    "<ChangeType>add_external_contact</ChangeType><List><A>1</A></List></xml>"
).encode()
_NASTY: Final = (
    b"\x00",
    b"\xff\xfe",
    b"\\u0000",
    b'"\\ud800"',
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 2000,
    b"9" * 5000,
    b"1e999",
    b"-0",
    b"NaN",
    b"null",
    b'""',
    b"'",
    b"%",
    b"%00",
    b"&",
    b"=",
    b"+",
    b"<!DOCTYPE x [<!ENTITY e 'e'>]>",
    b"<a>" * 500,
    b"]]>",
    b"<![CDATA[",
    b"&e;",
    b"\x1f\x8b",
    b'"userId":{}',
    b'"timestamp":"9999-99-99T99:99:99Z"',
    b'"time":1e300',
    b'"time":-1',
    b'"properties":[]',
    b'"batch":null',
    b"\xe4\xb8",
    "，".encode(),
    b"\r\n\r\n",
    b"../../etc",
    gzip.compress(b"0" * 200_000),
    gzip.compress(b"{}") * 20,
    b"gzip=9&",
    b"crc=1&",
    b"A" * 70_000,
)


@dataclass
class Shot:
    """One request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """Return it as HTTP."""
        head = [
            f"{self.method} {self.path} HTTP/1.1",
            "Host: fuzz",
            f"Content-Length: {len(self.body)}",
        ]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + self.body


class Fuzzer:
    """An endless source of requests; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._made: list[Callable[[], Shot]] = [
            self._segment,
            self._segment,
            self._sensors,
            self._sensors,
            self._wechat,
            self._wecom,
        ]

    def shot(self) -> Shot:
        """Return the next request."""
        return self._dice.choice(self._made)()

    def broken(self, body: bytes) -> bytes:
        """Return a body with a few things wrong, or none at all."""
        for _ in range(self._dice.choice((0, 1, 1, 2, 4))):
            body = self._wound(body)
        return body

    def _wound(self, body: bytes) -> bytes:
        dice = self._dice
        at = dice.randrange(len(body) + 1)
        end = min(len(body), at + dice.randrange(1, 40))
        head, tail = body[:at], body[end:]
        kind = dice.randrange(7)
        wounds = (
            bytes([dice.randrange(256)]) + body[at + 1 :],
            dice.choice(_NASTY) + body[at:],
            dice.choice(_NASTY) + tail,
            tail,
            body[at:end] * dice.randrange(2, 30) + tail,
            b"",
            dice.randbytes(dice.randrange(1, 60)) + body[at:],
        )
        return head + wounds[kind]

    def _segment(self) -> Shot:
        dice = self._dice
        body = self.broken(_BATCH % (self.broken(_ITEM), _ITEM) if dice.random() < 0.5 else _ITEM)
        headers = {"Authorization": dice.choice(("Basic ay1hcHA6", "Basic ///", "Bearer x", ""))}
        if dice.random() < 0.2:
            body = self.broken(gzip.compress(body, 1))
            headers["Content-Encoding"] = dice.choice(("gzip", "br", "identity"))
        if dice.random() < 0.2:
            noise = base64.b64encode(dice.randbytes(9)).decode()
            headers |= {"AnonymousId": noise, "SentAt": dice.choice(("x", "2026-01-02T03:04:05Z"))}
        paths = (
            "/v1/batch",
            "/v1/track",
            "/v1/identify",
            "/t",
            "/b",
            "/v1/p",
            "/v1/g",
            "/a",
            "/beacon/v1/batch?writeKey=k-web",
            "/beacon/v1/batch?writeKey=%ff",
        )
        return Shot("POST", dice.choice(paths), body, headers)

    def _sensors(self) -> Shot:
        dice = self._dice
        plain = self.broken(b"[%b,%b]" % (self.broken(_SENSORS), _SENSORS))
        packed = gzip.compress(plain, 1) if dice.random() < 0.3 else plain
        text = base64.b64encode(self.broken(packed) if dice.random() < 0.1 else packed)
        form = dice.choice((b"data_list=", b"data=")) + quote(text, safe="").encode()
        if dice.random() < 0.3:
            form += b"&crc=%d" % java_hash(text)
        form = self.broken(form) if dice.random() < 0.4 else form
        headers = {"Dry-Run": "true"} if dice.random() < 0.1 else {}
        path = dice.choice(("/sa", "/sa.gif", "/debug"))
        path += dice.choice(("?token=k-mini", "?project=x", "?token=k-mini&project=%00", ""))
        if dice.random() < 0.1:
            text_ = form.decode("latin-1")[:8000]
            query = quote(text_, safe="=&%+/")
            return Shot("GET", f"{path}{'&' if '?' in path else '?'}{query}", b"", headers)
        return Shot("POST", path, form, headers)

    def _wechat(self) -> Shot:
        xml = self.broken(_XML)
        if self._dice.random() < 0.5:
            query = f"signature={signature((TOKEN, TIME, NONCE))}&timestamp={TIME}&nonce={NONCE}"
            return Shot("POST", f"/wechat/{APPID}?{query}", xml)
        query, body = self._sealed(xml, APPID)
        return Shot("POST", f"/wechat/{APPID}?{query}&encrypt_type=aes", body)

    def _wecom(self) -> Shot:
        query, body = self._sealed(self.broken(_XML), CORPID)
        return Shot("POST", f"/wecom/{CORPID}?{query}", body)

    def _sealed(self, message: bytes, receiver: str) -> tuple[str, bytes]:
        sealed = encrypt(SecretStr(NEW_AES), receiver, message[:40_000])
        if self._dice.random() < 0.1:
            sealed = self.broken(sealed.encode()).decode("ascii", "ignore")
        signed = signature((TOKEN, TIME, NONCE, sealed))
        body = f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
        body = self.broken(body) if self._dice.random() < 0.2 else body
        return f"timestamp={TIME}&nonce={NONCE}&msg_signature={signed}", body


def good(number: int, mark: str) -> list[Shot]:
    """Return one good event for each door, of user ``<mark>-<number>``."""
    user = f"{mark}-{number}"
    now_ms = clock.now_ms()
    segment = (
        f'{{"writeKey":"k-app","batch":[{{"type":"track","event":"good","userId":"{user}"}}]}}'
    )
    sensors = f'{{"type":"track","event":"good","distinct_id":"{user}","time":{now_ms}}}'
    xml = _XML.replace(b"[o1]", f"[{user}]".encode()).replace(b">w1<", f">{user}<".encode())
    query = f"signature={signature((TOKEN, TIME, NONCE))}&timestamp={TIME}&nonce={NONCE}"
    sealed = encrypt(SecretStr(NEW_AES), CORPID, xml)
    signed = signature((TOKEN, TIME, NONCE, sealed))
    wecom = f"/wecom/{CORPID}?timestamp={TIME}&nonce={NONCE}&msg_signature={signed}"
    form = b"data=" + quote(base64.b64encode(sensors.encode()), safe="").encode()
    return [
        Shot("POST", "/v1/batch", segment.encode()),
        Shot("POST", "/sa?token=k-mini", form),
        Shot("POST", f"/wechat/{APPID}?{query}", xml),
        Shot("POST", wecom, f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()),
    ]
