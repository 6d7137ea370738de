"""JSON Schemas of every contract in this package: pydantic models and msgspec structs alike."""

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
from schemas.catalogue import CATALOGUE

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def export() -> dict[str, Any]:
    """Return schemas by name: ``events.Event`` and, by event, ``catalogue/cart_added``."""
    found: dict[str, Any] = {}
    for module in _modules():
        stem = module.__name__.removeprefix("schemas.")
        for name, value in sorted(vars(module).items()):
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if name.startswith("_"):
                continue
            if issubclass(value, msgspec.Struct):
                found[f"{stem}.{name}"] = _of_struct(value)
            elif issubclass(value, BaseModel) and stem != "catalogue":
                found[f"{stem}.{name}"] = _of_model(value)
    for event, entry in CATALOGUE.items():
        found[f"catalogue/{event}"] = {
            **_of_model(entry.model),
            "title": event,
            "x-sources": sorted(entry.sources),
        }
    return found


def write(out: Path) -> list[Path]:
    """Write one ``<name>.json`` per schema under a folder; return the paths."""
    written = []
    for name, schema in export().items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema, ensure_ascii=False, indent=2) + "\n", "utf-8")
        written.append(path)
    return written


def _modules() -> Iterator[ModuleType]:
    names = sorted(found.name for found in pkgutil.iter_modules(schemas.__path__, "schemas."))
    return (importlib.import_module(name) for name in names)


def _of_struct(struct: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components(
        [struct], ref_template="#/$defs/{name}"
    )
    return {"$schema": DIALECT, **reference, "$defs": components}


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema()}
