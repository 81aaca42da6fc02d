"""Reads settings: one TOML file, `TWICETOLD_*` variables, command-line flags; checked at start (`limits.py`).

The only reader of the environment. A later source wins: file, environment, flags. Nested keys are written with a
table in the file and with two underscores in the environment: `TWICETOLD_CACHE__MIN_SIMILARITY=0.97`.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from gateway.settings.declared import SettingsError, build, put, scalar
from gateway.settings.engine import EngineSettings, ModelSettings
from gateway.settings.limits import check, check_engine
from gateway.settings.observing import TracingSettings
from gateway.settings.trust import SealSettings
from gateway.settings.values import Settings, served_name

PREFIX = "TWICETOLD_"
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
KEY_BYTES = 64 * 1024  # the most that is read of a file with a key
SECRET_CHARS, SECRET_VARIETY = 32, 8  # the least length of a shared secret, and the least number of its characters


def load_settings(
    flags: Mapping[str, Any], config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Merge file, environment and flags. Raises `SettingsError` naming the key."""
    environ = os.environ if environ is None else environ
    merged = _from_file(config) if config is not None else {}
    for key, text in _from_environment(environ, {*_places(merged), *_places(flags)}):
        put(merged, key.split("__"), text, f"{PREFIX}{key.upper()}")
    merged.update({key: value for key, value in flags.items() if value is not None})
    models = merged.pop("models", [])
    settings: Settings = build(Settings, merged, "")
    settings = replace(settings, models=_models(models, settings.engine))
    check(settings)
    from gateway.normalise.route import route_of  # it reads settings, too

    for number, route in enumerate(settings.normalise):
        route_of(route, f"normalise[{number}]")  # a bad one stops the start
    return replace(
        settings,
        upstream_key=read_key("api_key_env", settings.api_key_env, environ),
        admin_key=read_key("admin_key_env", settings.admin_key_env, environ),
        secret=_read_secret(settings.secret_env, environ),
        tls=replace(
            settings.tls, key_password=read_key("tls.key_password_env", settings.tls.key_password_env, environ)
        ),
        seal=_seal(settings.seal, environ),
        tracing=_tracing(settings.tracing, environ),
        redis=_with_password(settings.redis, read_key("redis_password_env", settings.redis_password_env, environ)),
        backends=tuple(
            replace(backend, api_key=read_key(f"backends[{number}].api_key_env", backend.api_key_env, environ))
            for number, backend in enumerate(settings.backends)
        ),
    )


def read_model(source: str, name: str, own: Mapping[str, Any], defaults: EngineSettings, prefix: str) -> ModelSettings:
    """A model, named by its source unless told, with what of [engine] is its `own`. Raises `SettingsError`."""
    read: EngineSettings = build(EngineSettings, own, prefix)
    engine = replace(defaults, **{key: getattr(read, key) for key in own})
    check_engine(engine, prefix)
    return ModelSettings(source, name or served_name(source), engine)


def _models(values: Any, defaults: EngineSettings) -> tuple[ModelSettings, ...]:
    """What [[models]] says, or a text of sources between commas."""
    items = (
        [{"source": name} for item in values.split(",") if (name := item.strip())]
        if isinstance(values, str)
        else values
    )
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise SettingsError(f"models must be a list of tables, got {values!r}")
    return tuple(_model(item, defaults, f"models[{number}].") for number, item in enumerate(items))


def _model(item: Mapping[str, Any], defaults: EngineSettings, prefix: str) -> ModelSettings:
    own = dict(item)
    source, name = (scalar(own.pop(key, ""), str, prefix + key) for key in ("source", "name"))
    if not source:
        raise SettingsError(f"{prefix}source is missing: demo, a directory, or ORG/NAME")
    return read_model(source, name, own, defaults, prefix)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error}") from error


def _places(said: Any) -> Iterator[str]:
    """The variables that are said to hold a key, wherever it is said."""
    items = said.items() if isinstance(said, Mapping) else enumerate(said) if isinstance(said, list) else ()
    for name, value in items:
        if isinstance(value, str) and str(name).lower().endswith("_env"):
            yield value
        yield from _places(value)


def tell_libraries() -> None:
    """What libraries read of the environment when they are loaded, unless somebody chose otherwise.

    Products of numpy are of a few rows here: to wake a second thread for one costs several times as much, and another
    number of threads gives other last digits.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _from_environment(environ: Mapping[str, str], places: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Settings among the variables; one that is named as the place of a key is none, whatever it is called."""
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    named = {*places, *_places(ours)}
    return sorted((name[len(PREFIX) :].lower(), text) for name, text in ours.items() if name not in named)


def read_key(setting: str, place: str, environ: Mapping[str, str] | None = None) -> str:
    """The key in the variable, or in the `@file`, that a setting names; empty when it names none.

    Raises `SettingsError`, and never says what it read.
    """
    if not place:
        return ""
    said = _said(setting, place)
    if place.startswith("@"):
        key = _in_file(Path(place[1:]), said)
    else:
        key = (os.environ if environ is None else environ).get(place, "")
    key = key.strip()  # a line end behind it is none of it
    if not key:
        raise SettingsError(f"{said}, which is {'empty' if place.startswith('@') else 'not set'}")
    if not key.isprintable():
        raise SettingsError(f"{said}, which holds what no key has: a line break or such")
    return key


def _said(setting: str, place: str) -> str:
    return f"{setting} names the file {place[1:]}" if place.startswith("@") else f"{setting} names the variable {place}"


def _in_file(path: Path, said: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{said}, which cannot be read: {error.strerror}") from error
    if len(raw) > KEY_BYTES:
        raise SettingsError(f"{said}, which holds more than a key has: over {KEY_BYTES} bytes")
    return raw.decode("utf-8", "replace").replace("\ufffd", "\x00")  # what is no text is not printable


def _tracing(settings: TracingSettings, environ: Mapping[str, str]) -> TracingSettings:
    """Where spans go by the variable that every program with OpenTelemetry knows, unless we were told."""
    named = environ.get(COLLECTOR, "").strip()
    if settings.endpoint or not named or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return settings
    return replace(settings, endpoint=named, is_from_environment=True)


def _with_password(url: str, password: str) -> str:
    """The URL of a Redis with a password that may be of any characters. Raises `SettingsError`."""
    if not url or not password:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if ":" in user:
        raise SettingsError("redis holds a password, and redis_password_env names another: leave one of them out")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _read_secret(variable: str, environ: Mapping[str, str]) -> str:
    """The text that replicas share; a line end behind it is none of it. Raises `SettingsError`, and never says it."""
    text = read_key("secret_env", variable, environ).strip()
    if variable:
        _check_variety("secret_env", variable, text)
    return text


def _seal(settings: SealSettings, environ: Mapping[str, str]) -> SealSettings:
    """With the keys that it names. Raises `SettingsError`, and never says them."""
    key = read_key("seal.key_env", settings.key_env, environ)
    old = tuple(
        part
        for text in read_key("seal.old_keys_env", settings.old_keys_env, environ).split(",")
        if (part := text.strip())
    )
    for setting, place, text in (
        *((("seal.key_env", settings.key_env, key),) if key else ()),
        *(("seal.old_keys_env", settings.old_keys_env, one) for one in old),
    ):
        _check_variety(setting, place, text)
    return replace(settings, key=key, old_keys=old)


def _check_variety(setting: str, place: str, text: str) -> None:
    """Raise `SettingsError` for a secret that could be guessed."""
    if len(text) < SECRET_CHARS or len(set(text)) < SECRET_VARIETY:
        raise SettingsError(
            f"{_said(setting, place)}, which holds {len(text)} characters, {len(set(text))} of them"
            f" different; it takes {SECRET_CHARS} and {SECRET_VARIETY} (openssl rand -hex 32)"
        )
