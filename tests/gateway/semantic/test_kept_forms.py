"""Bare forms are kept over a restart: a start reads only those that it has not read before."""

from pathlib import Path

import pytest

from backends.chat import Completion
from embeddings.lexical import VERSION
from gateway.answers.base import Entry, Unembedded
from gateway.answers.memory import MemoryAnswers
from gateway.semantic.kept_forms import SIZE, KeptForms
from gateway.semantic.wordings import Wordings

SCOPE, COMPAT = b"s" * 32, b"c" * 32
OLD, NEW = "What is the capital city of France?", "Who wrote the first part of Faust?"


async def store(*questions: str) -> MemoryAnswers:
    answers = MemoryAnswers(1 << 20)
    for number, question in enumerate(questions):
        exact = b"%032d" % number
        await answers.put(Entry(f"e{number}", SCOPE, exact, COMPAT, b"", question, "m", Completion(()), 1.0, None, 0.1))
    return answers


async def opened(answers: MemoryAnswers, path: Path) -> Wordings:
    wordings = Wordings(answers, KeptForms(path, VERSION))
    await wordings.open()
    return wordings


async def test_what_was_read_before_is_not_read_again_and_what_is_new_is(tmp_path: Path) -> None:
    path = tmp_path / "index" / "bare.forms"
    await opened(await store(OLD), path)
    again = await opened(await store(NEW, "How deep is Lake Baikal, in metres?"), path)  # e0 asks something else

    assert await again.find(SCOPE + COMPAT, OLD) == ["e0"]  # as it was kept
    assert await again.find(SCOPE + COMPAT, "How deep is Lake Baikal, in metres") == ["e1"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["flipped", "cut", "another version"])
async def test_a_file_of_no_use_is_passed_over(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "bare.forms"
    await opened(await store(OLD), path)
    raw = bytearray(path.read_bytes())
    if harm == "another version":
        KeptForms(path, "bare0").write(KeptForms(path, VERSION).read())
    else:
        raw[-1] ^= 1
        path.write_bytes(raw[:-1] if harm == "cut" else raw)

    assert await (await opened(await store(NEW), path)).find(SCOPE + COMPAT, NEW) == ["e0"]


async def test_what_is_forgotten_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "bare.forms"
    wordings = await opened(await store(OLD, NEW), path)
    assert len(KeptForms(path, VERSION).read()) == 2 * 2 * SIZE
    wordings.drop(SCOPE, "e0")
    await wordings.keep()
    assert len(KeptForms(path, VERSION).read()) == 2 * SIZE


async def test_a_stop_in_the_middle_of_a_start_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "bare.forms"
    await opened(await store(OLD, NEW), path)
    wordings = Wordings(await store(), KeptForms(path, VERSION))
    await wordings.remember(Unembedded("e9", SCOPE, COMPAT, NEW, None))
    await wordings.keep()

    assert len(KeptForms(path, VERSION).read()) == 2 * 2 * SIZE
