"""The questions of `bi` as parametrized views, for tools that speak SQL: ``ask_<question>``.

    SELECT * FROM ask_growth(period = 'week', `from` = '2026-01-01', `to` = '2026-12-31',
                             tz = 'Asia/Shanghai')

A view knows no defaults: a caller gives every parameter.
"""

import hashlib
from typing import Final

from clickhouse_driver import Client

from schemas.settings import Settings
from sinks.clickhouse.client import as_missing, connect
from sinks.clickhouse.query import Question, describe, names

PREFIX: Final = "ask_"


def make_views(settings: Settings) -> list[str]:
    """Make the views that are missing or were made from another text; return their names.

    Needs the tables of ``migrate``. Raises ``PartMissing`` where ClickHouse does not answer.
    """
    client = connect(settings.clickhouse)
    try:
        return _make(client)
    except Exception as error:
        raise as_missing(error) or error from error
    finally:
        client.disconnect()


def view_of(question: Question) -> str:
    """Return the name of a question's view."""
    return f"{PREFIX}{question.name}"


def _make(client: Client) -> list[str]:
    there = dict(
        client.execute(
            "SELECT name, comment FROM system.tables"
            " WHERE database = currentDatabase() AND startsWith(name, %(prefix)s)",
            {"prefix": PREFIX},
        )
    )
    names_made = []
    for question in map(describe, names()):
        comment = _comment(question)
        if there.get(view_of(question)) != comment:
            text = comment.replace("\\", "\\\\").replace("'", "\\'")
            # The driver would read the text's own percent signs if it were given values.
            client.execute(
                f"CREATE OR REPLACE VIEW {view_of(question)} AS {question.sql}\nCOMMENT '{text}'"
            )
            names_made.append(view_of(question))
    return names_made


def _comment(question: Question) -> str:
    # The checksum tells whether the view is of this text.
    return f"{question.answers} [{hashlib.sha256(question.sql.encode()).hexdigest()[:12]}]"
