"""What all documents have in common: strict models, errors that name a defect's place, canonical JSON, timestamps."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from planner.contracts.versions import Format
from planner.dimensions import DIMENSIONS, Dimension
from planner.errors import ContractError

MAX_BIN = 10**9
MAX_COUNT = 2**53
"""Larger numbers count nothing, and JSON does not carry them exactly."""
Bin = Annotated[int, Field(ge=1, le=MAX_BIN)] | Literal["NA"]
"""A budget bin: a positive number, or "NA" for "left to Cyntra's default"."""

Milliseconds = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Identifier = Annotated[str, Field(min_length=1)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]


class Document(BaseModel):
    """Base of all documents: no coercion of types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)


class OpenDocument(Document):
    """A document to which Cyntra may add further keys."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


AnyDocument = TypeVar("AnyDocument", bound=Document)


def with_further_dimensions(
    key: Callable[[Dimension], str], default: Callable[[Dimension], Any], kinds: Sequence[str] = ("choice", "budget")
) -> Callable[[type[AnyDocument]], type[AnyDocument]]:
    """A document that names the dimensions of an action gets a key for each that is not one of Cyntra's own four."""

    def extend(model: type[AnyDocument]) -> type[AnyDocument]:
        further = {key(d): (Any, default(d)) for d in DIMENSIONS if d.default is not None and d.kind in kinds}
        if not further:
            return model
        # The fields are known at run time only, so no overload of create_model can name them.
        return create_model(model.__name__, __base__=model, **further)  # type: ignore[call-overload]

    return extend


def validate(model: type[AnyDocument], document: object, source: str) -> AnyDocument:
    """``document`` as a ``model``; ContractError names the source, the JSON path and the reason of the first defect.

    Strict, as befits what we write: a key that the model does not name is a defect. See :func:`accept` for reading.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _contract_error(error, source) from None


def accept(model: type[AnyDocument], document: object, source: str) -> tuple[AnyDocument, list[str]]:
    """``document`` as a ``model``, and the paths of the keys that the model does not name: they are no defect.

    For reading what others wrote; the model keeps these keys. ContractError as in :func:`validate`.
    """
    found = _accepted(model, document, source)
    unnamed: set[str] = set()
    _add_unnamed(found, "", unnamed)
    return found, sorted(unnamed)


def _accepted(model: type[AnyDocument], document: object, source: str) -> AnyDocument:
    try:
        return model.model_validate(document, extra="allow")
    except ValidationError as error:
        raise _contract_error(error, source) from None


def _add_unnamed(model: BaseModel, path: str, unnamed: set[str]) -> None:
    """Add the paths of the keys that ``model`` and those in it hold without naming them; items of a list have one."""
    if model.model_extra:
        unnamed.update(path + key for key in model.model_extra)
    for name in _inner_models(type(model)):
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            _add_unnamed(value, f"{path}{name}.", unnamed)
        elif isinstance(value, list):
            for item in value:
                _add_unnamed(item, f"{path}{name}[].", unnamed)


@lru_cache(maxsize=256)
def _inner_models(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that hold models: to look at all the others would take most of the time of reading."""
    return tuple(name for name, info in model.model_fields.items() if _names_model(info.annotation))


def _names_model(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(map(_names_model, get_args(annotation)))


def _contract_error(error: ValidationError, source: str) -> ContractError:
    first = error.errors(include_url=False)[0]
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ContractError(source, path, f"{first['msg']}, found {_shorten(first['input'])}{more}")


def parse(model: type[AnyDocument], data: bytes | str, source: str) -> AnyDocument:
    """JSON text as a ``model``, with the keys that it does not name; ContractError as in :func:`accept`."""
    return _accepted(model, parse_json(data, source), source)


def parse_json(data: bytes | str, source: str) -> Any:
    """JSON text as Python values; ContractError names the source and the place of a syntax error."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ContractError(source, "$", f"not JSON: {error}") from None


def read_document(model: type[AnyDocument], path: Path, versions: Format | None = None) -> AnyDocument:
    """The document in the file ``path``, of any of its ``versions``; ContractError when it is unreadable or invalid."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ContractError(str(path), "$", f"cannot be read: {error.strerror}") from None
    document = parse_json(data, str(path))
    return accept(model, versions.upgraded(document, str(path)) if versions else document, str(path))[0]


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, not ASCII-escaped (docs/kernel-contract.md, section 3)."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def timestamp_to_ms(timestamp: str) -> int:
    """An RFC 3339 timestamp as ms since the epoch, UTC; ValueError when it is not one."""
    moment = datetime.fromisoformat(timestamp)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def ms_to_timestamp(ms: int) -> str:
    """ms since the epoch as an RFC 3339 timestamp, UTC, as Cyntra writes them."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shorten(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
