"""JSON Schemas of every contract: models and structs of modules, and the plan's events."""

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
from pydantic import BaseModel

import schemas
from schemas.asyncapi import asyncapi
from schemas.plan import Plan, event_schema
from schemas.tags import EventTag, MadeTag

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# A module that holds contracts, and the first part of their names.
Named = tuple[str, ModuleType]
# Nobody writes these: each kind of tag is a model of its own.
_BASES: Final = frozenset({EventTag, MadeTag})


def export(plan: Plan, above: Iterable[Named]) -> dict[str, Any]:
    """Return schemas by name: ``events.Event`` and, by event, ``plan/cart_added``.

    They are those of this package, and of the modules ``above`` it.
    """
    modules = (*_modules(), *above)
    schemas_by_name = dict(sorted(chain.from_iterable(map(_contracts, modules)), key=itemgetter(0)))
    for event in plan.events.values():
        schemas_by_name[f"plan/{event.name}"] = event_schema(event)
    return schemas_by_name


def write(out: Path, plan: Plan, above: Iterable[Named]) -> list[Path]:
    """Write a ``<name>.json`` per schema and ``asyncapi.json`` under a folder; return the paths."""
    written = []
    schemas_by_name = export(plan, above)
    documents = {**schemas_by_name, "asyncapi": asyncapi(schemas_by_name, plan)}
    for name, schema in documents.items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema, ensure_ascii=False, indent=2) + "\n", "utf-8")
        written.append(path)
    return written


def _modules() -> Iterator[Named]:
    for module in pkgutil.iter_modules(schemas.__path__):
        yield module.name, importlib.import_module(f"schemas.{module.name}")


def _contracts(named: Named) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schemas of what a module itself defines."""
    stem, module = named
    for name, value in vars(module).items():
        if not isinstance(value, type) or value.__module__ != module.__name__:
            continue
        if name.startswith("_") or value in _BASES:
            continue
        if issubclass(value, msgspec.Struct):
            yield f"{stem}.{name}", _of_struct(value)
        elif issubclass(value, BaseModel):
            yield f"{stem}.{name}", _of_model(value)


def _of_struct(struct: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components(
        [struct], ref_template="#/$defs/{name}"
    )
    return {"$schema": DIALECT, **reference, "$defs": components}


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema()}
