"""JSON Schemas of every contract: this package's models and structs, and the plan's events."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
from pydantic import BaseModel

import schemas
from schemas.asyncapi import asyncapi
from schemas.plan import Plan, event_schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def export(plan: Plan) -> dict[str, Any]:
    """Return schemas by name: ``events.Event`` and, by event, ``plan/cart_added``."""
    schemas_by_name: dict[str, Any] = {}
    for module in _modules():
        stem = module.__name__.removeprefix("schemas.")
        for name, value in sorted(vars(module).items()):
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if name.startswith("_"):
                continue
            if issubclass(value, msgspec.Struct):
                schemas_by_name[f"{stem}.{name}"] = _of_struct(value)
            elif issubclass(value, BaseModel):
                schemas_by_name[f"{stem}.{name}"] = _of_model(value)
    for event in plan.events.values():
        schemas_by_name[f"plan/{event.name}"] = event_schema(event)
    return schemas_by_name


def write(out: Path, plan: Plan) -> list[Path]:
    """Write a ``<name>.json`` per schema and ``asyncapi.json`` under a folder; return the paths."""
    written = []
    schemas_by_name = export(plan)
    documents = {**schemas_by_name, "asyncapi": asyncapi(schemas_by_name, plan)}
    for name, schema in documents.items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema, ensure_ascii=False, indent=2) + "\n", "utf-8")
        written.append(path)
    return written


def _modules() -> Iterator[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(schemas.__path__, "schemas."))
    return (importlib.import_module(name) for name in names)


def _of_struct(struct: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components(
        [struct], ref_template="#/$defs/{name}"
    )
    return {"$schema": DIALECT, **reference, "$defs": components}


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema()}
