"""Checkpoints by ORG/NAME: downloaded from the Hugging Face hub, or out of its cache when the hub cannot be asked.

ORG/NAME@REVISION pins a commit, a branch or a tag: whoever can write to the repository changes nothing here then.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its HTTP client's
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from backends.local.decoder.config import CheckpointError

log = logging.getLogger(__name__)

FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
SPARE = ("*/*.safetensors", "consolidated*.safetensors")  # the same weights once more, for other programs
_WHICH: dict[str, Any] = {"allow_patterns": list(FILES), "ignore_patterns": list(SPARE)}
FAILURES = (OSError, HTTPError, ValueError)  # the last for names it does not take and answers that are no JSON


def download(name: str) -> Path:
    """The folder of a whole checkpoint, with a progress bar on standard error. Raises `CheckpointError`."""
    repo, _, said = name.partition("@")
    revision = said or None
    try:
        # snapshot_download asks the same first, but without a limit: it would wait for a silent hub for ever.
        HfApi().model_info(repo, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except FAILURES as error:
        return _cached(name, revision, error)
    try:
        with _no_line_per_request():
            return Path(snapshot_download(repo, revision=revision, **_WHICH))
    except FAILURES as error:
        raise CheckpointError(_refusal(name, error) or _cut_short(name, error)) from error


@contextmanager
def _no_line_per_request() -> Iterator[None]:
    """The HTTP client tells every request at level INFO, through the middle of the progress bar."""
    client = logging.getLogger(HTTPError.__module__.partition(".")[0])
    level = client.level
    client.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        client.setLevel(level)


def _cached(name: str, revision: str | None, error: Exception) -> Path:
    try:
        path = snapshot_download(name.partition("@")[0], revision=revision, local_files_only=True, **_WHICH)
    except FAILURES:
        raise CheckpointError(_refusal(name, error) or _out_of_reach(name, error)) from error
    log.info("%s comes from the cache, the hub could not be asked: %s", name, _reason(error))
    return Path(path)


def _refusal(repo: str, error: Exception) -> str | None:
    """What to do when the hub was reached and said no."""
    match error:
        case GatedRepoError():
            return f"{repo} is gated: accept its terms on the hub and set HF_TOKEN"
        case RevisionNotFoundError():
            return f"{repo}: the repository has no such revision"
        case RepositoryNotFoundError() | HFValidationError():
            return f"{repo} is not on the Hugging Face hub, or it is private: set HF_TOKEN"
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the Hugging Face hub refuses {repo}: check HF_TOKEN ({_reason(error)})"
    return None


def _out_of_reach(repo: str, error: Exception) -> str:
    return (
        f"the Hugging Face hub is out of reach and {repo} is not in its cache, or not all of it. Pass a directory that "
        "holds the checkpoint, point HF_HOME at a cache that has it, or serve the demo model by naming none. "
        f"({_reason(error)})"
    )


def _cut_short(repo: str, error: Exception) -> str:
    return f"the download of {repo} was cut short; start again, files that came whole are kept. ({_reason(error)})"


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
