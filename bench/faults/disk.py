"""Disks that are full, read-only, out of inodes or gone, under a gateway that is asked all the while.

    python -m bench.faults.disk            as root: each disk is a tmpfs of a few MB, mounted and unmounted here

Every request goes to a real gateway with the demo model and an upstream, and has one right answer. While a fault lasts
each must be answered, and rightly; when it is over, new answers are kept again (asked for with `only-if-cached` after a
restart), the database is sound, and the faults were counted. Where nothing can be mounted the reason is said instead.
"""

import argparse
import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.faults.parts import MortalGateway
from bench.faults.traffic import CHAT, ENTRIES, Book, chat_body, local_body, put_body, text_of
from bench.http1 import Connection
from bench.processes import upstream

ASKED = 60  # requests of each kind while a fault lasts
CONFIG = "[engine]\nexact = true\nthreads = 1\nkv_mb = 4\n[cache]\nsemantic = false\nmemory_mb = 1\n"
ONLY_STORED = "cache-control: only-if-cached"


@dataclass(slots=True)
class Fault:
    """What came of one."""

    name: str
    asked: int = 0
    right: int = 0
    counted: int = 0  # failures that the gateway told of
    kept_again: str = ""
    wrong: list[str] | None = None

    def row(self) -> str:
        state = "; ".join((self.wrong or [])[:3]) or "none"
        return f"| {self.name} | {self.asked} | {self.right} | {self.counted} | {self.kept_again} | {state} |"


class NoMount(Exception):
    """Nothing can be mounted here."""


class Disk:
    """A tmpfs at a folder."""

    def __init__(self, at: Path, *options: str) -> None:
        self.at = at
        at.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(at))

    def remount(self, *options: str) -> None:
        _mount("-o", ",".join(("remount", *options)), str(self.at))

    def fill(self, leave_bytes: int) -> None:
        """Somebody else writes until so much is left."""
        free = shutil.disk_usage(self.at).free - leave_bytes
        with (self.at / "ballast").open("ab") as file, suppress(OSError):
            while free > 0:
                free -= file.write(b"\0" * min(free, 65_536))
                file.flush()

    def empty(self) -> None:
        (self.at / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.at)], check=False, capture_output=True)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoMount(done.stderr.strip() or "mount failed")


class Scene:
    """A gateway whose data lies on a disk, and what was asked of it."""

    def __init__(self, disk: Disk, flags: Sequence[str], book: Book, *, has_engine: bool) -> None:
        self.disk = disk
        self.has_engine = has_engine
        self.book = book
        self.data_dir = disk.at / "data"
        self.gateway = MortalGateway(self.data_dir, flags)

    def start(self) -> None:
        self.gateway.start()
        self.gateway.wait(*(("local",) if self.has_engine else ()))

    def restart(self) -> None:
        self.gateway.close()
        self.start()

    async def ask(self, fault: Fault, times: int = ASKED) -> list[int]:
        """Questions of every kind, new ones and old ones; the numbers of the new ones."""
        new: list[int] = []
        url, book = self.gateway.url, self.book
        async with Connection(url, CHAT) as chat, Connection(url, ENTRIES, method="PUT") as puts:
            for turn in range(times):
                number = book.new("chat")
                new.append(number)
                for asked in (number, new[turn // 2]):
                    text = text_of(await chat.post(chat_body(asked, stream=bool(turn % 2))))
                    _note(fault, f"chat {asked}", text, book.expected(asked))
                put = book.new("put")
                timed = await puts.post(put_body(put, book.expected(put)))
                _note(fault, f"put {put}", str(timed.status), "200")
                if self.has_engine and turn % 6 == 0:
                    prompt = turn // 6 % len(book.local)
                    text = text_of(await chat.post(local_body(prompt, ["kv"])))
                    _note(fault, f"prompt {prompt}", text, book.local[prompt])
        return new

    async def stored(self, numbers: Sequence[int]) -> int:
        """How many of these are had without asking anybody."""
        count = 0
        async with Connection(self.gateway.url, CHAT, header=ONLY_STORED) as chat:
            for number in numbers:
                text = text_of(await chat.post(chat_body(number)))
                count += text == self.book.expected(number)
        return count

    def counted(self) -> int:
        """Failures of the cache, and of the tiers of prefixes, that the gateway tells of."""
        stats = self.gateway.stats()
        kv = stats["engine"]["kv"] if self.has_engine else {}
        return int(
            stats["cache_failures"] + sum(kv.get(f"disk_{name}", 0) for name in ("errors", "failures", "refused"))
        )

    def is_sound(self) -> bool:
        with closing(sqlite3.connect(self.data_dir / "answers.db", timeout=10)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")


def _note(fault: Fault, what: str, got: str | None, expected: str) -> None:
    fault.asked += 1
    fault.right += got == expected
    if got != expected:
        fault.wrong = [*(fault.wrong or []), f"{what}: {got!r:.80} instead of {expected!r:.80}"]


def _kept_again(scene: Scene, fault: Fault) -> None:
    """After the fault: what is asked now outlives a restart."""
    time.sleep(1.5)  # a store that lost its file tries again meanwhile
    later = Fault("later")
    new = asyncio.run(scene.ask(later, 10))
    time.sleep(1.0)
    scene.restart()
    there = asyncio.run(scene.stored(new))
    fault.kept_again = f"{there} of {len(new)}"
    if there < len(new):
        fault.wrong = [*(fault.wrong or []), "what was asked afterwards is not all kept"]
    if not scene.is_sound():
        fault.wrong = [*(fault.wrong or []), "answers.db is not sound"]
    if later.wrong:
        fault.wrong = [*(fault.wrong or []), *later.wrong]


def full(scene: Scene, fault: Fault) -> None:
    """The disk fills up with our own writes, and somebody else's."""
    scene.start()
    scene.disk.fill(300_000)
    asyncio.run(scene.ask(fault))
    fault.counted = scene.counted()
    scene.disk.empty()
    _kept_again(scene, fault)


def full_at_checkpoint(scene: Scene, fault: Fault) -> None:
    """Not a byte is left when the log of the database is to be taken in, and at a start."""
    scene.start()
    kept = asyncio.run(scene.ask(Fault("before"), 30))
    time.sleep(1.0)
    scene.disk.fill(0)
    asyncio.run(scene.ask(fault, 20))
    fault.counted = scene.counted()
    scene.gateway.kill()
    scene.start()  # on the full disk, with a log that was not taken in
    asyncio.run(scene.ask(fault, 20))
    fault.counted += scene.counted()
    there = asyncio.run(scene.stored(kept))
    if there < len(kept):
        fault.wrong = [*(fault.wrong or []), f"{there} of {len(kept)} answers from before are there"]
    scene.disk.empty()
    _kept_again(scene, fault)


def read_only_at_start(scene: Scene, fault: Fault) -> None:
    """Nothing can be written from the start on; stored answers are served if they can be."""
    scene.start()
    kept = asyncio.run(scene.ask(Fault("before"), 20))
    time.sleep(1.0)
    scene.gateway.close()
    scene.disk.remount("ro")
    scene.start()
    asyncio.run(scene.ask(fault))
    there = asyncio.run(scene.stored(kept))
    fault.counted = scene.counted()
    fault.name += f" ({there} of {len(kept)} stored answers served)"
    scene.disk.remount("rw")
    time.sleep(16.0)  # the store is looked for every quarter of a minute
    _kept_again(scene, fault)


def refused_later(scene: Scene, fault: Fault) -> None:
    """From now on the disk refuses every write."""
    scene.start()
    asyncio.run(scene.ask(Fault("before"), 10))
    before = _limit(scene, resource.RLIMIT_FSIZE, 0)
    asyncio.run(scene.ask(fault))
    fault.counted = scene.counted()
    _limit(scene, resource.RLIMIT_FSIZE, before)
    _kept_again(scene, fault)


def no_inodes(scene: Scene, fault: Fault) -> None:
    """No file can be made any more; those that are open can grow."""
    scene.start()
    with suppress(OSError):
        for number in range(100_000):
            (scene.disk.at / f"litter-{number}").touch()
    asyncio.run(scene.ask(fault))
    fault.counted = scene.counted()
    scene.restart()
    asyncio.run(scene.ask(fault, 20))
    fault.counted += scene.counted()
    for litter in scene.disk.at.glob("litter-*"):
        litter.unlink()
    time.sleep(16.0)
    _kept_again(scene, fault)


def vanished(scene: Scene, fault: Fault) -> None:
    """Somebody deletes the data directory with all that is in it."""
    scene.start()
    asyncio.run(scene.ask(Fault("before"), 10))
    secret = (scene.data_dir / "secret").read_bytes()
    shutil.rmtree(scene.data_dir)
    asyncio.run(scene.ask(fault))
    fault.counted = scene.counted()
    if not (scene.data_dir / "secret").exists():  # without it a restart knows nothing of what was kept
        (scene.data_dir / "secret").write_bytes(secret)
    _kept_again(scene, fault)


def no_descriptors(scene: Scene, fault: Fault) -> None:
    """The gateway may open hardly any file or connection more."""
    scene.start()
    asyncio.run(scene.ask(Fault("before"), 10))
    process = psutil.Process(scene.gateway.server.pid)
    before = _limit(scene, resource.RLIMIT_NOFILE, process.num_fds() + 6)
    asyncio.run(scene.ask(fault))
    fault.counted = scene.counted()
    _limit(scene, resource.RLIMIT_NOFILE, before)
    _kept_again(scene, fault)


def _limit(scene: Scene, what: int, soft: int) -> int:
    """Set a limit of the running gateway; what it was."""
    before, hard = resource.prlimit(scene.gateway.server.pid, what)
    resource.prlimit(scene.gateway.server.pid, what, (soft, hard))
    return before


SCENES: dict[
    str, tuple[Callable[[Scene, Fault], None], tuple[str, ...], bool]
] = {  # what happens, to what disk, engine
    "full": (full, ("size=5m",), True),
    "full at a checkpoint and at a start": (full_at_checkpoint, ("size=5m",), False),
    "read-only from the start": (read_only_at_start, ("size=16m",), False),
    "refuses writes from now on": (refused_later, ("size=16m",), False),
    "no inodes": (no_inodes, ("size=16m", "nr_inodes=120"), True),
    "data directory deleted": (vanished, ("size=16m",), False),
    "no file descriptors": (no_descriptors, ("size=16m",), False),
}


@contextmanager
def _scene(at: Path, options: Sequence[str], upstream_url: str, book: Book, *, has_engine: bool) -> Iterator[Scene]:
    disk = Disk(at, *options)
    config = at.with_suffix(".toml")
    config.write_text(CONFIG, "utf-8")
    flags = ["--config", str(config), "--upstream", upstream_url, *(("--model", "demo") if has_engine else ())]
    scene = Scene(disk, flags, book, has_engine=has_engine)
    try:
        yield scene
    finally:
        scene.gateway.close()
        disk.close()


async def _learn(url: str, book: Book) -> None:
    async with Connection(url, CHAT) as lane:
        for number in range(6):
            text = text_of(await lane.post(local_body(number, [])))
            assert text is not None
            book.local[number] = text


def run(names: Sequence[str]) -> list[Fault]:
    """Each of the faults on a disk of its own. Raises `NoMount`."""
    book, faults = Book(), []
    with tempfile.TemporaryDirectory(prefix="twicetold-disk-") as folder, upstream() as backend:
        for at, name in enumerate(names):
            play, options, has_engine = SCENES[name]
            fault = Fault(name)
            with _scene(Path(folder) / f"disk{at}", options, backend.url, book, has_engine=has_engine) as scene:
                try:
                    if has_engine and not book.local:
                        scene.start()
                        asyncio.run(_learn(scene.gateway.url, book))
                        scene.gateway.close()
                    play(scene, fault)
                except Exception as error:  # the root of a scene: the others are played all the same
                    fault.wrong = [*(fault.wrong or []), f"{type(error).__name__}: {error}"]
            print(fault.row(), file=sys.stderr, flush=True)
            faults.append(fault)
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.disk", description="Disks that fail.")
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(SCENES)}; all of them")
    options = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("skipped: only root may mount a disk")
        return 0
    try:
        faults = run(options.scenes or list(SCENES))
    except NoMount as error:
        print(f"skipped: {error}")
        return 0
    heads = ("disk", "requests meanwhile", "right", "failures counted", "kept again afterwards", "wrong")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for fault in faults:
        print(fault.row())
    return 1 if any(fault.wrong for fault in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
