"""Data files become talks of user turns."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.datasets import DATA, DataError, conversations_of, find, read_rows, stream_of, turns_of


def message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_a_conversation_is_cut_at_its_user_messages() -> None:
    spoken = [message("system", "s"), message("user", "1"), message("assistant", "a"), message("user", "2")]

    first, second = turns_of(spoken)

    assert (first.before, first.user, first.recorded) == ((spoken[0],), spoken[1], spoken[2])
    assert (second.before, second.user, second.recorded) == ((), spoken[3], None)


def test_user_messages_in_a_row_are_turns_without_a_recorded_answer() -> None:
    turns = list(turns_of([message("user", "1"), message("user", "2")]))

    assert [turn.recorded for turn in turns] == [None, None]


def test_the_scope_of_a_prompt_is_its_system_message() -> None:
    scoped, plain = stream_of([{"prompt": "p", "class_id": "c", "scope": "db"}, {"prompt": "q", "class_id": "d"}])

    assert scoped.turns[0].before == (message("system", "db"),)
    assert plain.turns[0].before == ()
    assert (scoped.class_id, scoped.name) == ("c", "p")


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_files_are_read_plain_and_compressed_with_or_without_their_ending(tmp_path: Path, ending: str) -> None:
    row = {"prompt": "é", "class_id": "c"}
    raw = (json.dumps(row) + "\n").encode()
    (tmp_path / f"set{ending}").write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)

    assert list(read_rows(find(str(tmp_path / "set"), "streams"))) == [row]


def test_a_missing_file_and_a_broken_line_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "set.jsonl"
    broken.write_text('{"prompt": "p"}\n{', "utf-8")

    with pytest.raises(DataError, match="no_such"):
        find("no_such", "streams")
    with pytest.raises(DataError, match=r"set\.jsonl, line 2"):
        list(read_rows(broken))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not beside the repository")
def test_the_shared_data_has_the_expected_shape() -> None:
    talks = conversations_of(read_rows(find("mtbench101", "conversations")))
    prompts = stream_of(read_rows(find("spider", "streams")))

    assert sum(len(talk.turns) for talk in talks) > len(talks)
    assert all(talk.class_id for talk in prompts)
