"""Who may send: write keys of the SDK doors and the WeChat accounts, from one YAML file."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from schemas.errors import ConfigInvalid

Source = Literal["app", "mini_program", "official_account", "web", "server"]


class WriteKey(BaseModel):
    """A key that SDKs send (Segment's write key, Sensors' token): whom it speaks for."""

    model_config = ConfigDict(extra="forbid")
    source: Source
    name: str


class WeChatAccount(BaseModel):
    """One official account: its callback token and AES keys, newest first (rotation).

    ``aes_only`` refuses plain messages: their signature does not cover the body.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    token: SecretStr
    aes_keys: list[SecretStr] = []
    aes_only: bool = False


class Sources(BaseModel):
    """The file that ``SIYU_SOURCES`` names."""

    model_config = ConfigDict(extra="forbid")
    write_keys: dict[str, WriteKey] = {}
    wechat: dict[str, WeChatAccount] = {}


def load_sources(path: Path) -> Sources:
    """Return the sources of a YAML file; raises ``ConfigInvalid`` with the faulty field."""
    try:
        return Sources.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except FileNotFoundError as missing:
        raise ConfigInvalid(path, "not found", hint="set SIYU_SOURCES to a file") from missing
    except (yaml.YAMLError, ValidationError) as bad:
        raise ConfigInvalid(path, str(bad).replace("\n", " ")) from bad
