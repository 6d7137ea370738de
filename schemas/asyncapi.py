"""The AsyncAPI 3 document: each topic as a channel, with the contract of its messages."""

import json
from collections.abc import Mapping
from typing import Any, Final

from schemas.plan import Plan
from schemas.topics import ALL, Topic

VERSION: Final = "3.0.0"
# Binary by nature: named in the document, without a schema.
_OPAQUE: Final = "application/octet-stream"


def asyncapi(schemas_by_name: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the document; *schemas_by_name* are those of ``schemas.export``."""
    messages = {topic.name: _message(topic, schemas_by_name) for topic in ALL}
    messages |= {
        f"event.{name}": _planned(name, plan, schemas_by_name[f"plan/{name}"])
        for name in plan.events
    }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Siyu",
            "version": "1",
            "description": "Topics of the pipeline; `events` holds the tracking plan's events.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, plan) for topic in ALL},
        "operations": {_operation(topic): _receive(topic) for topic in ALL},
        "components": {"messages": messages},
    }


def _channel(topic: Topic, plan: Plan) -> dict[str, Any]:
    names = [f"event.{name}" for name in plan.events] if topic.name == "events" else []
    return {
        "address": topic.name,
        "description": f"key: {topic.key}; payload: {topic.payload}",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in [topic.name, *names]
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": topic.cleanup.split(","),
                    "retention.ms": -1 if topic.retention_ms is None else topic.retention_ms,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(topic: Topic, schemas_by_name: Mapping[str, Any]) -> dict[str, Any]:
    schema = schemas_by_name.get(topic.payload.removeprefix("schemas."))
    message: dict[str, Any] = {
        "name": topic.payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
    }
    # The raw topic carries the bytes as received, the envelope beside them in a header.
    if topic.payload == "schemas.raw.RawRecord":
        envelope = _inlined(schemas_by_name["raw.Envelope"])
        headers = {"type": "object", "properties": {"siyu": envelope}}
        return {**message, "contentType": _OPAQUE, "headers": headers}
    if schema is None:
        return {**message, "contentType": _OPAQUE}
    return {**message, "payload": _inlined(schema)}


def _planned(name: str, plan: Plan, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in schema.items() if key != "$schema"}
    payload = {
        "type": "object",
        "properties": {"event": {"const": name}, "properties": properties},
        "required": ["event", "properties"],
    }
    return {"name": name, "summary": plan.events[name].description, "payload": payload}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references stand in it: ``#/$defs`` means the whole document here."""
    definitions = schema.get("$defs", {})

    def resolved(part: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(part, dict):
            target = part.get("$ref")
            if isinstance(target, str) and target.startswith("#/$defs/"):
                return resolved(definitions[target.removeprefix("#/$defs/")])
            return {k: resolved(v) for k, v in part.items() if k not in ("$defs", "$schema")}
        return [resolved(item) for item in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = json.loads(json.dumps(resolved(schema)))
    return inlined


def _operation(topic: Topic) -> str:
    return "read_" + topic.name.replace(".", "_")


def _receive(topic: Topic) -> dict[str, Any]:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{topic.name}"}}
