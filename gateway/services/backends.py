"""Who generates: the upstream, and local engines."""

from pathlib import Path

from backends.base import AnyModelBackend
from backends.http import Timeouts
from backends.remote import RemoteSpec, remote
from gateway.engines import LocalEngine, Unavailable
from gateway.identity.scope import Scope, tenant_of
from gateway.services.seal import seal_keys_of
from gateway.settings import DEMO, EngineSettings, ModelSettings, Settings, served_name

MIB = 2**20


def local_engine(settings: Settings, secret: bytes, model: ModelSettings, num_engines: int) -> LocalEngine:
    """A local engine over a checkpoint that is there, downloaded if need be. Raises `Unavailable`."""
    try:
        from backends.local.backend import LocalBackend
        from backends.local.decoder.checkpoint import find, read
        from backends.local.decoder.config import CheckpointError
        from backends.local.demo import checkpoint_path
        from backends.local.settings import LocalSettings
    except ImportError as error:
        raise Unavailable(
            f"the local engine needs {error.name}: pip install 'twicetold-server[local]', or name an --upstream"
        ) from error
    engine, anonymous = model.engine, tenant_of(secret, None)
    try:
        # what cannot be served is told now, in one line, not from inside the started server
        checkpoint = read(checkpoint_path() if model.source == DEMO else find(model.source))
    except CheckpointError as error:
        raise Unavailable(str(error)) from error
    limits = LocalSettings(
        secret=secret,
        seal_keys=seal_keys_of(settings),
        kv_budget_bytes=engine.kv_mb * MIB,
        max_running=engine.max_running,
        max_waiting=engine.max_waiting,
        threads=engine.threads or None,
        dtype=engine.dtype,
        weights="" if engine.weights == "auto" else engine.weights,
        device=engine.device,
        exact=engine.exact,
        drafts=engine.drafts,
        idle_work=engine.idle_work,
        warm_prompts=tuple(map(_prompt_text, engine.warm_prompts)),
        public_prompts=tuple(map(_prompt_text, engine.public_prompts)),
        warm_salt=Scope(anonymous, model.name).kv_salt(secret),
        warm_owner=anonymous,
        max_new_tokens=engine.max_new_tokens or None,
        context_tokens=engine.context_tokens or None,
        ready_wait_s=engine.ready_wait_s,
        load_s=engine.load_s,
        hang_s=engine.hang_s,
        memory_bytes=engine.memory_mb * MIB,
        num_engines=num_engines,
        kv_dir=settings.data_dir / "kv",
        kv_disk_bytes=engine.kv_disk_mb * MIB,
        kv_redis=kv_redis_of(settings, engine),
        kv_codec=engine.kv_codec,
        kv_policy=engine.kv_policy,
    )
    is_first = model.name == served_name(settings.local_model)  # names are unique
    name = "local" if is_first else f"local:{model.name}"
    return LocalBackend(checkpoint, served_name=model.name, settings=limits, name=name)


def kv_redis_of(settings: Settings, engine: EngineSettings) -> str:
    """Where prefixes are kept beside this machine: with the answers unless told otherwise; empty: nowhere."""
    return {"": settings.redis, "off": ""}.get(engine.kv_redis, engine.kv_redis)


def _prompt_text(prompt: str) -> str:
    """A text, or what the file named behind an @ holds. Raises `Unavailable`."""
    if not prompt.startswith("@"):
        return prompt
    try:
        return Path(prompt[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"engine.warm_prompts or public_prompts: {prompt[1:]} cannot be read: {error}") from error


def upstream_of(settings: Settings) -> AnyModelBackend:
    limits = settings.timeouts
    return remote(
        RemoteSpec(
            "upstream",
            settings.upstream,
            settings.upstream_flavour,
            api_key=settings.upstream_key,
            models=settings.upstream_models,
            timeouts=Timeouts(limits.connect_s, limits.first_token_s, limits.idle_s, limits.total_s),
            predicts=settings.upstream_prediction,
            revision=None,  # another URL is another server
        )
    )
