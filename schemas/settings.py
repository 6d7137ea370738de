"""Settings: the one place that reads the environment.

Order of sources: ``SIYU_*`` variables, then ``$SIYU_HOME/stack.json`` (what `siyu up`
started) and ``$SIYU_HOME/secrets.json`` (made once by `siyu up`), then the defaults.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ROOT: Final = Path(__file__).resolve().parent.parent
SHIPPED_PLAN: Final = ROOT / "deploy/plan"


def home() -> Path:
    """Return the folder of data, logs and pid files: ``SIYU_HOME``, else ``.siyu``."""
    return Path(os.environ.get("SIYU_HOME") or ROOT / ".siyu").resolve()


@contextmanager
def at_home(folder: Path) -> Iterator[Path]:
    """Make a folder the home of this process and of what it starts, for the ``with``."""
    before = os.environ.get("SIYU_HOME")
    os.environ["SIYU_HOME"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["SIYU_HOME"]
        else:
            os.environ["SIYU_HOME"] = before


class _HomeFiles(PydanticBaseSettingsSource):
    """Values of the JSON files that `siyu up` leaves in the home folder."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - pydantic-settings' signature
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in ("stack.json", "secrets.json"):
            path = home() / name
            if path.is_file():
                values |= json.loads(path.read_text("utf-8"))
        return {key: values[key] for key in values.keys() & Settings.model_fields.keys()}


class Settings(BaseSettings):
    """Every knob, with its unit in its name."""

    model_config = SettingsConfigDict(env_prefix="SIYU_", extra="ignore", frozen=True)

    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers")
    kafka_transactions: bool = Field(True, description="false: no exactly-once guarantee")
    partitions: int = Field(4, description="partitions of each topic, when created")
    replication: int = Field(1, description="replicas of each topic, when created")
    clickhouse: str = Field("clickhouse://default@127.0.0.1:9000/siyu", description="native URL")

    sources: Path = Field(ROOT / "deploy/local/sources.yaml", description="who may send")
    rulebook: Path = Field(ROOT / "deploy/rulebook", description="folder of tags and rules")
    plan: Path = Field(SHIPPED_PLAN, description="folder of the tracking plan: known events")
    pii_key: SecretStr = Field(
        SecretStr(""), description="key of the HMAC over phones and e-mails; siyu up makes one"
    )

    collect_host: str = "127.0.0.1"
    collect_port: int = 8787
    collect_max_body_bytes: int = Field(1024 * 1024, description="compressed or plain, as sent")
    collect_max_inflated_bytes: int = Field(4 * 1024 * 1024, description="after gunzip")
    collect_max_in_flight_bytes: int = Field(64 * 1024 * 1024, description="over it: 503")
    collect_max_requests: int = Field(1000, description="in flight at once; over it: 503")
    collect_head_timeout_s: float = Field(
        10.0, description="a new connection that has not sent a whole request head is closed"
    )

    worker_batch_records: int = Field(2000, description="records handed to an agent at once")
    worker_pending_records: int = Field(20_000, description="uncommitted outputs per partition")
    worker_session_timeout_s: float = 10.0
    worker_name: str = Field("worker-0", description="names this copy's state folder")
    worker_store: Literal["memory", "rocksdb"] = "memory"
    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: int = Field(
        0,
        description="/metrics, /healthz, /readyz, and with a token look-ups of users; "
        "0: off, and for look-ups a free port that the group is told",
    )
    worker_api_url: str = Field(
        "", description="where other machines reach this worker; http://HOST:PORT by default"
    )
    worker_api_index: bool = Field(
        True,
        description="find users by any of their identities: some 100 bytes for each, once asked",
    )
    worker_origins: bool = Field(
        True, description="keep since when and by which event each tag has its value"
    )
    worker_profiles: bool = Field(
        False, description="write the whole profile of whoever's tags moved to topic profiles"
    )
    api_token: SecretStr = Field(
        SecretStr(""),
        description="bearer of look-ups at the worker; empty: none are served; siyu up makes one",
    )
    worker_standby: bool = Field(
        False, description="keep warm copies of the state that other workers own"
    )
    reject_alarm: Literal["guard", "strict", "warn"] = Field(
        "guard",
        description="over the ratio: guard ends the worker where the plan rejects all accounts at "
        "once, strict where it rejects any, warn never; the metric and the log tell in each case",
    )
    reject_alarm_ratio: float = Field(0.5, gt=0, le=1, description="of an account's latest items")
    reject_alarm_items: int = Field(200, ge=1, description="fewer items of an account say nothing")
    timer_settle_ms: int = Field(
        3000,
        description="a timer fires this long after it is due (or after the arrival of the event "
        "that set it, if later), so that what happened before can still arrive",
    )

    webhook_url: str | None = Field(None, description="where the webhook channel posts touches")
    webhook_secret: SecretStr = SecretStr("")
    deliver_timeout_s: float = 5.0
    deliver_max_attempts: int = 5
    deliver_backoff_s: float = Field(0.5, description="first pause between attempts; doubles")
    deliver_concurrency: int = Field(64, description="calls at a time to one provider")

    land_max_rows: int = Field(100_000, description="rows of one insert, at most")
    land_max_delay_ms: int = Field(500, description="how long a row waits for others")

    @property
    def isolation_level(self) -> Literal["read_committed", "read_uncommitted"]:
        """What consumers ask for: without transactions nothing is ever marked committed."""
        return "read_committed" if self.kafka_transactions else "read_uncommitted"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the files of the home folder after the environment."""
        return init_settings, env_settings, _HomeFiles(settings_cls)


class StackSettings(BaseSettings):
    """Parts that the embedded stack uses instead of its own."""

    model_config = SettingsConfigDict(env_prefix="SIYU_", extra="ignore", frozen=True)

    kafka: str | None = Field(None, description="use this broker instead of the embedded one")
    kafka_transactions: bool = Field(True, description="false: that broker has no transactions")
    clickhouse: str | None = Field(None, description="use this ClickHouse (native URL) instead")
    broker: Literal["auto", "kafka", "tansu"] = Field("auto", description="which one to embed")
    cache: Path = Field(ROOT / ".siyu/cache", description="jars and engines, fetched once")


class DemoSettings(BaseSettings):
    """Settings of the demo for the tests of kill -9."""

    model_config = SettingsConfigDict(env_prefix="SIYU_DEMO_", extra="ignore", frozen=True)

    kill: str = Field("", description="e.g. worker@send,broker@settle: SIGKILL amid that phase")
