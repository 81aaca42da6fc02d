"""ORG/NAME is downloaded from a hub, kept, and refused in one line that helps. A real hub, real processes."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.hub import Cut, commit, free_address, running_hub, silent_hub

Checkpoints = Callable[[str], Path]
WEIGHTS = "model.safetensors"
HALF = 100_000  # bytes of the tiny weights
FIND = """
import sys
from backends.local.decoder.checkpoint import find
from backends.local.decoder.config import CheckpointError
try:
    print(find(sys.argv[1]))
except CheckpointError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def tiny(checkpoints: Checkpoints) -> Path:
    return checkpoints("llama")


def environ(hub: str, home: Path, **more: str) -> dict[str, str]:
    """What a process needs to take `hub` for Hugging Face and `home` for its cache."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "TWICETOLD_"))}
    return {
        **ours,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def find(hub: str, home: Path, name: str = "acme/tiny", **more: str) -> "subprocess.CompletedProcess[str]":
    """`checkpoint.find` in a process of its own: the client reads its environment when it is imported."""
    command = [sys.executable, "-c", FIND, name]
    return subprocess.run(command, env=environ(hub, home, **more), capture_output=True, text=True, timeout=120)


def serve(hub: str, home: Path, name: str) -> "subprocess.CompletedProcess[str]":
    """The command, where it is expected to end by itself."""
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(home / "data")]
    env = environ(hub, home, TWICETOLD_CACHE__SEMANTIC="false")
    return subprocess.run([*command, "--model", name], env=env, capture_output=True, text=True, timeout=120)


def on_a_terminal(hub: str, home: Path) -> str:
    """What `find` draws on a terminal of a hundred columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", FIND, "acme/tiny"]
    with subprocess.Popen(command, env=environ(hub, home), stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb") as terminal:
            drawn = bytearray()
            try:
                while piece := terminal.read1(65536):
                    drawn += piece
            except OSError:  # how Linux says that the other end was closed
                pass
    assert process.returncode == 0
    return drawn.decode()


def whole(found: "subprocess.CompletedProcess[str]", tiny: Path) -> bool:
    """Whether the folder that was found holds every file, byte for byte."""
    assert found.returncode == 0, found.stderr
    folder = Path(found.stdout.strip())
    return {f.name: f.read_bytes() for f in folder.iterdir()} == {f.name: f.read_bytes() for f in tiny.iterdir()}


@contextmanager
def gateway(hub: str, folder: Path) -> Iterator[Gateway]:
    """The gateway on acme/tiny, its log in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in environ(hub, folder / "home").items():
            patch.setenv(name, text)
        with running_gateway(folder / "data", "--model", "acme/tiny", cache__semantic="false") as running:
            yield running


def answer(running: Gateway) -> str:
    running.wait("local")
    messages = [{"role": "user", "content": "who are you?"}]
    response = running.post({"model": "acme/tiny", "messages": messages, "max_tokens": 3})
    assert response.status_code == 200, response.text
    model: str = response.json()["model"]
    return model


def test_serving_a_name_downloads_it_shows_progress_and_answers_under_that_name(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub, gateway(hub.url, tmp_path) as running:
        assert answer(running) == "acme/tiny"

    log = (tmp_path / "data.log").read_text()
    assert re.search(r"Fetching 6 files: 100%", log)
    assert "HTTP Request: GET" not in log.partition("Fetching")[2].partition("100%")[0]


def test_a_later_start_serves_from_the_cache_without_the_hub(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        assert whole(find(hub.url, tmp_path / "home"), tiny)

    with gateway(hub.url, tmp_path) as running:
        assert answer(running) == "acme/tiny"

    assert "acme/tiny comes from the cache" in (tmp_path / "data.log").read_text()


def test_a_revision_pins_what_is_served_and_another_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        pinned = find(hub.url, tmp_path, f"acme/tiny@{commit(tiny)}")
        other = find(hub.url, tmp_path, f"acme/tiny@{'0' * 40}")

    assert whole(pinned, tiny)
    assert other.returncode == 1
    assert other.stderr.strip() == f"acme/tiny@{'0' * 40}: the repository has no such revision"


def test_a_terminal_sees_how_many_bytes_came(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        drawn = on_a_terminal(hub.url, tmp_path)

    assert re.search(r"100%\S* *\S*\| +\d+kB / +\d+kB", drawn)


def test_a_cached_name_costs_the_hub_no_file(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        find(hub.url, tmp_path)
        hub.requests.clear()

        assert whole(find(hub.url, tmp_path), tiny)
        assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_only_the_files_of_a_checkpoint_are_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    for name in ("config.json", "pytorch_model.bin", "consolidated.safetensors", "README.md", WEIGHTS):
        (folder / name).write_text(name)
    with running_hub({"acme/tiny": folder}) as hub:
        found = find(hub.url, tmp_path / "home")

    assert sorted(file.name for file in Path(found.stdout.strip()).iterdir()) == ["config.json", WEIGHTS]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("acme/none", "acme/none is not on the Hugging Face hub, or it is private: set HF_TOKEN"),
        ("acme/gated", "acme/gated is gated: accept its terms on the hub and set HF_TOKEN"),
        ("acme/-no--name", "acme/-no--name is not on the Hugging Face hub, or it is private: set HF_TOKEN"),
    ],
)
def test_what_the_hub_does_not_give_is_told_in_one_line(name: str, line: str, tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/gated": tiny}, gated=frozenset({"acme/gated"})) as hub:
        told = find(hub.url, tmp_path, name)

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.splitlines()[-1] == line
    assert "Traceback" not in told.stderr


def test_what_the_hub_does_not_give_ends_the_start_with_one_line(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        ended = serve(hub.url, tmp_path, "acme/none")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1].startswith("twicetold: acme/none is not on the Hugging Face hub")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("hub", ["gone", "silent", "behind a proxy that is gone"])
def test_a_hub_out_of_reach_is_told_in_one_line(hub: str, tmp_path: Path) -> None:
    with silent_hub() as silent:
        address = {"gone": free_address(), "silent": silent}.get(hub, "http://hub.invalid")
        proxy = free_address() if "proxy" in hub else ""
        ended = find(address, tmp_path, HF_HUB_ETAG_TIMEOUT="1", HTTP_PROXY=proxy, http_proxy=proxy)

    assert (ended.returncode, ended.stdout) == (1, "")
    told = r"the Hugging Face hub is out of reach and acme/tiny .* directory .* HF_HOME .* demo model .*"
    assert re.fullmatch(told, ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr


def test_a_silent_hub_does_not_keep_a_cached_checkpoint_waiting(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}) as hub:
        find(hub.url, tmp_path)
    with silent_hub() as silent:
        assert whole(find(silent, tmp_path, HF_HUB_ETAG_TIMEOUT="1"), tiny)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    chunk = 10 * 2**20  # the client keeps whole chunks
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(os.urandom(1024) * (2 * chunk // 1024))
    with running_hub({"acme/tiny": folder}, cut=Cut(WEIGHTS, chunk + 1000)) as hub:
        assert whole(find(hub.url, tmp_path / "home"), folder)

    assert hub.asked("GET", WEIGHTS) == ["", f"bytes={chunk}-"]


def test_half_a_checkpoint_is_never_served_and_the_next_start_completes_it(tiny: Path, tmp_path: Path) -> None:
    with running_hub({"acme/tiny": tiny}, cut=Cut(WEIGHTS, HALF, then="refused")) as hub:
        cut_short = find(hub.url, tmp_path)
    without_hub = find(hub.url, tmp_path)
    with running_hub({"acme/tiny": tiny}) as hub:
        completed = find(hub.url, tmp_path)

    assert cut_short.returncode == without_hub.returncode == 1
    assert "the download of acme/tiny was cut short; start again" in cut_short.stderr.splitlines()[-1]
    assert "out of reach and acme/tiny is not in its cache, or not all of it" in without_hub.stderr
    assert "Traceback" not in cut_short.stderr + without_hub.stderr
    assert whole(completed, tiny)


def test_a_start_killed_in_the_middle_of_a_download_is_completed_by_the_next(tiny: Path, tmp_path: Path) -> None:
    cut = Cut(WEIGHTS, HALF, then="stalled")
    with running_hub({"acme/tiny": tiny}, cut=cut) as hub:
        command = [sys.executable, "-c", FIND, "acme/tiny"]
        with subprocess.Popen(command, env=environ(hub.url, tmp_path), stderr=subprocess.DEVNULL) as process:
            assert cut.was_made.wait(60)
            process.kill()
        without_hub = find(free_address(), tmp_path)
        completed = find(hub.url, tmp_path)

    assert "not all of it" in without_hub.stderr
    assert whole(completed, tiny)
