"""Options of a command as typed models: from the command line, else the repo's project file, else their defaults.

A model's fields become the command's options, each with its own sentence of help. ``.cyntra/planner/planner.yaml``
sets their defaults for one repo; its sections are commands, its keys the options' names without dashes:

    bench:
      k: 6
      cyntra: cyntra-sandbox
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from planner.command_app import with_parameters
from planner.errors import ConfigError, UsageError
from planner.places import NO_URI, OR_URI, is_uri, place_of

PROJECT_FILE = Path(".cyntra/planner/planner.yaml")
COMMAND_LINE, DEFAULT = "command line", "default"
COMMANDS: dict[str, Callable[[], Sequence[type[BaseModel]]]] = {}
"""Command -> the models of its options, which :func:`with_options` has mounted."""
Model = TypeVar("Model", bound=BaseModel)


class OptionsModel(BaseModel):
    """The options of a command; frozen, and nothing but its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    section: str | None = None,
    metavar: str | None = None,
    **limits: Any,
) -> Any:
    """A field: its help, its flag (default: ``--the-field``), and the section of the help it stands in, what the help
    calls its value.

    ``limits`` are pydantic's: ``ge``, ``le`` and their kin.
    """
    return Field(
        default, description=help, json_schema_extra={"flag": flag, "section": section, "metavar": metavar}, **limits
    )


@dataclass(frozen=True)
class Setting:
    """One option as it was resolved."""

    value: Any
    origin: str
    """COMMAND_LINE, DEFAULT, or the project file's path."""


class Options:
    """The resolved options of one command."""

    def __init__(self, models: Mapping[type[BaseModel], BaseModel], settings: Mapping[str, Setting]) -> None:
        self._models = models
        self.settings = settings
        """Key in the project file -> value and origin, in the order of the help."""

    def of(self, model: type[Model]) -> Model:
        """The options that ``model`` describes."""
        found = self._models[model]
        assert isinstance(found, model)
        return found


def with_options(command: str, models: Callable[[], Sequence[type[BaseModel]]]) -> Callable[..., Callable[..., None]]:
    """Decorate a command's function: it takes ``options: Options`` last, the command line every field of ``models``.

    The project file is looked for from the function's ``repo`` argument upwards, else from the current directory.
    """
    COMMANDS[command] = models

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function).parameters.values() if p.name != "options"]

        @functools.wraps(function)
        def run(ctx: typer.Context, **values: Any) -> None:
            given = {name: values[name] for name in values if _is_given(ctx, name)}
            start = place_of(str(next((values[p.name] for p in own if p.name == "repo"), "")))
            options = resolve(command, given, start if isinstance(start, Path) else Path())
            function(**{p.name: values[p.name] for p in own}, options=options)

        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        fields = [_parameter(name, field) for name, field in _fields(models())]
        return with_parameters(run, [context, *own, *fields])

    return decorate


def resolve(command: str, given: Mapping[str, Any], start: Path) -> Options:
    """The options of ``command``, of which the command line has ``given``.

    UsageError for what does not fit on the command line, ConfigError for what does not in the project file.
    """
    models = COMMANDS[command]()
    path = find_project_file(start)
    in_file = {} if path is None else _section(path, command, models)
    settings = {}
    for name, field in _fields(models):
        if name in given:
            settings[name] = Setting(given[name], COMMAND_LINE)
        elif name in in_file:
            settings[name] = Setting(in_file[name], str(path))
        else:
            settings[name] = Setting(field.get_default(call_default_factory=True), DEFAULT)
    made = {model: _make(model, settings, command) for model in models}
    keys = {name: key_of(name, field) for name, field in _fields(models)}
    return Options(made, {keys[name]: setting for name, setting in settings.items()})


def find_project_file(start: Path) -> Path | None:
    """The project file of the repo that ``start`` lies in; None where there is none."""
    start = start.resolve()
    return next((path for place in (start, *start.parents) if (path := place / PROJECT_FILE).is_file()), None)


def key_of(name: str, field: FieldInfo) -> str:
    """What the project file and ``planner config show`` call an option: its flag without dashes in front."""
    return _flag(name, field).removeprefix("--").replace("-", "_")


def _fields(models: Iterable[type[BaseModel]]) -> list[tuple[str, FieldInfo]]:
    return [item for model in models for item in model.model_fields.items()]


def _section(path: Path, command: str, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Field -> value in the file's section for ``command``."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    document = {} if document is None else document
    if not isinstance(document, dict) or not isinstance(document.get(command) or {}, dict):
        raise ConfigError(f"{path}: a mapping of commands to their options was expected: write `{command}: {{k: 4}}`")
    if unknown := sorted(map(str, set(document) - set(COMMANDS))):
        raise ConfigError(f"{path}: {unknown[0]}: no such section; there are {', '.join(COMMANDS)}")
    keys = {key_of(name, field): name for name, field in _fields(models)}
    section = document.get(command) or {}
    if unknown := sorted(map(str, set(section) - set(keys))):
        raise ConfigError(f"{path}: {command}.{unknown[0]}: no such option; there are {', '.join(sorted(keys))}")
    takes_uri = {key_of(name, field) for name, field in _fields(models) if OR_URI in _metavar(field)}
    for key, value in section.items():
        if key not in takes_uri and isinstance(value, str) and is_uri(value) and key != "address":
            raise ConfigError(f"{path}: {command}.{key}: {value}: {NO_URI}")
    return {keys[key]: value for key, value in section.items()}


def _make(model: type[BaseModel], settings: Mapping[str, Setting], command: str) -> BaseModel:
    try:
        return model(**{name: settings[name].value for name in model.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        origin, key = settings[name].origin, key_of(name, model.model_fields[name])
        found = f"{first['msg']}, found {first['input']!r}"
        if origin in (COMMAND_LINE, DEFAULT):
            raise UsageError(f"{_flag_of(key)}: {found}") from None
        raise ConfigError(f"{origin}: {command}.{key}: {found}") from None


def _flag_of(key: str) -> str:
    return "--" + key.replace("_", "-")


def _flag(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str((extra.get("flag") if isinstance(extra, dict) else None) or _flag_of(name))


def _metavar(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str((extra.get("metavar") if isinstance(extra, dict) else None) or "")


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The field as a parameter that typer makes an option of."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    section = str(extra["section"]) if extra.get("section") else None
    limits = {kind: getattr(limit, name) for limit in field.metadata for kind, name in _LIMITS if hasattr(limit, name)}
    info = typer.Option(
        _flag(name, field), help=field.description, rich_help_panel=section, metavar=_metavar(field) or None, **limits
    )
    default: Any = field.get_default(call_default_factory=True)
    annotation: Any = field.annotation
    if get_origin(annotation) is list and not default:
        default, annotation = None, annotation | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


_LIMITS = (("min", "ge"), ("max", "le"))


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
