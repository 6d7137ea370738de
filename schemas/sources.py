"""Who may send: write keys of the SDK doors, WeChat and WeCom accounts, from one YAML file."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from schemas.errors import ConfigInvalid

Source = Literal["app", "mini_program", "official_account", "web", "server", "wecom"]


class Limit(BaseModel):
    """A token bucket: ``per_s`` events a second in the long run, ``burst`` of them at once."""

    model_config = ConfigDict(extra="forbid")
    per_s: Annotated[float, Field(gt=0)]
    burst: Annotated[int, Field(ge=1)]


class WriteKey(BaseModel):
    """A key that SDKs send (Segment's write key, Sensors' token): whom it speaks for.

    With a ``secret`` each request must be signed (``Siyu-Timestamp``, ``Siyu-Signature``):
    for servers, since what an app or a page ships is no secret. ``limit`` holds for each
    collector process.
    """

    model_config = ConfigDict(extra="forbid")
    source: Source
    name: str
    secret: SecretStr | None = None
    limit: Limit | None = None

    @model_validator(mode="after")
    def _only_servers_keep_secrets(self) -> Self:
        if self.secret is not None and self.source != "server":
            raise ValueError(f"secret: only for source server; a {self.source} cannot keep one")
        if self.secret is not None and not self.secret.get_secret_value():
            raise ValueError("secret: is empty; leave it out for a key without signatures")
        return self


class Reply(BaseModel):
    """A passive reply (被动回复) of an official account, to a keyword or to an event."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1, max_length=600)]
    keyword: str | None = None
    match: Literal["exact", "contains"] = "exact"
    event: str | None = None

    @model_validator(mode="after")
    def _answers_one_thing(self) -> Self:
        if bool(self.keyword) == bool(self.event):
            raise ValueError("say either keyword or event")
        return self


class WeChatAccount(BaseModel):
    """An official account or a mini-program: its push token and AES keys, newest first (rotation).

    ``aes_only`` refuses plain messages: their signature does not cover the body.
    ``replies`` are tried in order; the first that fits is the answer of the callback.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    source: Literal["official_account", "mini_program"] = "official_account"
    token: SecretStr
    aes_keys: list[SecretStr] = []
    aes_only: bool = False
    replies: list[Reply] = []

    @model_validator(mode="after")
    def _only_official_accounts_reply(self) -> Self:
        if self.replies and self.source != "official_account":
            raise ValueError("replies: WeChat shows none in a mini-program; leave them out")
        return self


class WeComAccount(BaseModel):
    """One company (企业微信): its callback token and AES keys, newest first; always sealed."""

    model_config = ConfigDict(extra="forbid")
    name: str
    token: SecretStr
    aes_keys: Annotated[list[SecretStr], Field(min_length=1)]


class Sources(BaseModel):
    """The file that ``SIYU_SOURCES`` names.

    ``strangers`` bounds what is kept of Sensors requests with unknown keys: each of them
    is a record, and anybody may send them.
    """

    model_config = ConfigDict(extra="forbid")
    write_keys: dict[str, WriteKey] = {}
    wechat: dict[str, WeChatAccount] = {}
    wecom: dict[str, WeComAccount] = {}
    strangers: Limit = Limit(per_s=100, burst=2000)


def load_sources(path: Path) -> Sources:
    """Return the sources of a YAML file; raises ``ConfigInvalid`` with the faulty field."""
    try:
        return Sources.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except FileNotFoundError as missing:
        raise ConfigInvalid(path, "not found", hint="set SIYU_SOURCES to a file") from missing
    except (yaml.YAMLError, ValidationError) as bad:
        raise ConfigInvalid(path, str(bad).replace("\n", " ")) from bad
