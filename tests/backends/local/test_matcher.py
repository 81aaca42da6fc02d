"""A grammar allows exactly the tokens that may follow, in every kind of vocabulary."""

import json
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from backends.local.engine.matcher import MOST_GRAMMARS, GrammarError, Grammars, Matcher
from backends.local.speech.grammar import asked_shape
from backends.local.speech.parts import Manner, Speech
from backends.local.speech.tools import HERMES, LLAMA, MISTRAL, Dialect, calls_shape, read_calls
from tests.backends.local.tiny import TEXTS

END = "<|im_end|>"
MARKERS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<think>")
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 6}, "b": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "sun", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": 'a "rainy" ü'}},
]


def number(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that is there."""
    token_id = tokenizer.token_to_id(token)
    assert token_id is not None
    return token_id


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=[END], initial_alphabet=alphabet)
    )
    return tokenizer


def byte_fallback() -> Tokenizer:
    """What SentencePiece makes: spaces are written as ▁, and what is in no piece is spelled in bytes."""
    pieces = ["<unk>", END, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*'▁abcdefghijklmnopqrstuvwxyz{}[]":,0123456789.-\n', "▁a", "▁{", '":', '▁"', "true", "缓", "ü"]
    merges = [("▁", "a"), ("▁", "{"), ('"', ":"), ("▁", '"')]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True), AddedToken(END, special=True)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


VOCABULARIES = {"byte level": byte_level, "byte fallback": byte_fallback}


@pytest.fixture(params=[(kind, special) for kind in VOCABULARIES for special in (False, True)], ids=str)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Every kind of vocabulary, the markers of tool calls special or just added."""
    kind, special = request.param
    made = VOCABULARIES[kind]()
    made.add_tokens([AddedToken(marker, special=special) for marker in MARKERS])
    return made


def grammars(tokenizer: Tokenizer, path: Path, **config: Any) -> Grammars:
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return Grammars(path, [number(tokenizer, END)])


def json_grammar(schema: Any) -> str:
    shape = asked_shape({"guided_json": schema})
    assert shape is not None
    return shape.grammar


def walk(matcher: Matcher, tokenizer: Tokenizer, *, seed: int = 0, width: int = 600, most: int = 500) -> list[int]:
    """Choose allowed tokens at random, and the end whenever it is allowed and luck has it."""
    random, token_ids, end = Random(seed), list[int](), number(tokenizer, END)
    while len(token_ids) < most:
        allowed = matcher.allowed(width).nonzero().flatten().tolist()
        chosen = end if end in allowed and random.random() < 0.5 else random.choice(allowed)
        if chosen == end:
            return token_ids
        matcher.accept(chosen)
        token_ids.append(chosen)
    raise AssertionError(f"no end: {tokenizer.decode(token_ids)}")


@pytest.mark.parametrize("text", ["<|im_end|>", "<tool_call>", "a [TOOL_CALLS] b", "<think>", "Schlüssel 缓存 🙂"])
def test_a_schema_may_name_any_text_and_no_special_token_spells_it(
    text: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    matcher = Matcher(grammars(tokenizer, tmp_path).start(json_grammar({"enum": [text, text + "!"]})))

    token_ids = walk(matcher, tokenizer)

    assert json.loads(tokenizer.decode(token_ids, skip_special_tokens=True)) in (text, text + "!")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_allowed_is_what_the_text_shows(seed: int, tokenizer: Tokenizer, tmp_path: Path) -> None:
    schema = {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 3, "minItems": 3}

    token_ids = walk(Matcher(grammars(tokenizer, tmp_path).start(json_grammar(schema))), tokenizer, seed=seed)

    strings = json.loads(tokenizer.decode(token_ids, skip_special_tokens=True))
    assert len(strings) == 3
    assert all(len(string) <= 9 for string in strings)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "sun"}}])
@pytest.mark.parametrize("dialect", [HERMES, MISTRAL, LLAMA])
def test_forced_calls_are_calls(dialect: Dialect, choice: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    forced = read_calls(TOOLS, choice, parallel=True)
    assert forced is not None
    added = {marker: number(tokenizer, marker) for marker in dialect.markers if marker in MARKERS}
    shape = calls_shape(forced, dialect, added)

    for seed in range(3):
        token_ids = walk(Matcher(grammars(tokenizer, tmp_path).start(shape.grammar)), tokenizer, seed=seed, most=4000)

        speech = Speech(Manner(dialect, is_sure=True))
        parts = [*speech.push(tokenizer.decode(token_ids, skip_special_tokens=False)), *speech.flush()]
        heads = [call for part in parts for call in part["tool_calls"] if "id" in call]
        names = {call["function"]["name"] for call in heads}
        assert speech.has_calls
        assert names <= ({"sun", 'a "rainy" ü'} if choice == "required" else {"sun"})
        if dialect.opening in added:
            assert token_ids[0] == added[dialect.opening]


def test_tokens_that_only_the_configuration_calls_special_are_in_no_text(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("aaa", special=False)])
    hidden = number(tokenizer, "aaa")

    for is_special in (False, True):
        told = grammars(tokenizer, tmp_path, added_tokens_decoder={str(hidden): {"special": is_special}})
        allowed = Matcher(told.start(json_grammar({"type": "string"})))
        allowed.accept(number(tokenizer, '"'))

        assert bool(allowed.allowed(600)[hidden]) is not is_special


def test_logits_may_be_wider_and_narrower_than_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = byte_level()
    matcher = Matcher(grammars(tokenizer, tmp_path).start(json_grammar({"type": "string"})))
    matcher.accept(number(tokenizer, '"'))
    size = tokenizer.get_vocab_size()

    wide, narrow = matcher.allowed(size + 77), matcher.allowed(size - 50)

    assert (len(wide), bool(wide[size:].any())) == (size + 77, False)
    assert narrow.tolist() == wide[: size - 50].tolist()


def test_the_end_is_allowed_only_where_the_text_may_end(tmp_path: Path) -> None:
    tokenizer = byte_level()
    matcher = Matcher(grammars(tokenizer, tmp_path).start(json_grammar({"enum": [1, 12]})))
    end = number(tokenizer, END)

    before = bool(matcher.allowed(600)[end])
    matcher.accept(number(tokenizer, "1"))
    behind_1 = bool(matcher.allowed(600)[end])
    matcher.accept(number(tokenizer, "2"))

    assert (before, behind_1) == (False, True)
    assert matcher.allowed(600).nonzero().flatten().tolist() == [end]


def test_what_must_follow_is_known_and_what_may_not_is_counted_out(tmp_path: Path) -> None:
    tokenizer = byte_level()
    matcher = Matcher(grammars(tokenizer, tmp_path).start(json_grammar({"enum": ["hash chain", "hash table"]})))

    forced = matcher.forced()

    assert tokenizer.decode(forced).startswith('"ha')
    assert matcher.num_allowed([*forced, number(tokenizer, "!")]) == len(forced)
    assert matcher.num_allowed([number(tokenizer, "!")]) == 0


def test_what_must_follow_ends_before_a_token_the_model_does_not_have(tmp_path: Path) -> None:
    compiled = grammars(byte_level(), tmp_path).start(json_grammar({"enum": ["A cache keeps"]}))
    every = Matcher(compiled).forced()
    place = every.index(max(every))

    assert place > 0
    assert Matcher(compiled, max(every)).forced() == every[:place]
    assert Matcher(compiled, max(every) + 1).forced() == every


def test_two_sequences_with_one_grammar_stand_in_different_places(tmp_path: Path) -> None:
    tokenizer = byte_level()
    compiled = grammars(tokenizer, tmp_path)
    text = json_grammar({"enum": [1, 2]})
    first, second = Matcher(compiled.start(text)), Matcher(compiled.start(text))

    first.accept(number(tokenizer, "1"))

    assert compiled.start(text) is compiled.start(text)
    assert second.allowed(600)[number(tokenizer, "2")]


def test_only_the_last_grammars_are_kept(tmp_path: Path) -> None:
    compiled = grammars(byte_level(), tmp_path)
    first = compiled.start(json_grammar({"const": 0}))
    for i in range(MOST_GRAMMARS):
        compiled.start(json_grammar({"const": i + 1}))

    assert compiled.start(json_grammar({"const": MOST_GRAMMARS})) is not first
    assert compiled.start(json_grammar({"const": 0})) is not first


def test_a_grammar_or_a_vocabulary_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    broken = Matcher(grammars(byte_level(), tmp_path).start("{}"))
    missing = Matcher(Grammars(tmp_path / "nowhere", [0]).start(json_grammar({"const": 0})))

    with pytest.raises(GrammarError, match="cannot be compiled"):
        broken.allowed(600)
    with pytest.raises(GrammarError, match="vocabulary cannot be used"):
        missing.allowed(600)


@pytest.mark.parametrize("dialect", [HERMES, MISTRAL, LLAMA])
def test_an_answer_may_be_calls_or_what_the_schema_says(dialect: Dialect, tokenizer: Tokenizer, tmp_path: Path) -> None:
    calls = read_calls(TOOLS, "auto", parallel=False)
    answer = asked_shape({"guided_json": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}})
    assert calls is not None
    added = {marker: number(tokenizer, marker) for marker in dialect.markers if marker in MARKERS}
    compiled = grammars(tokenizer, tmp_path)

    seen = set()
    for seed in range(8):
        grammar = calls_shape(calls, dialect, added, answer).grammar
        token_ids = walk(Matcher(compiled.start(grammar)), tokenizer, seed=seed, most=4000)
        text = tokenizer.decode(token_ids, skip_special_tokens=False)
        speech = Speech(Manner(dialect))
        parts = [*speech.push(text), *speech.flush()]
        seen.add(speech.has_calls)
        if not speech.has_calls:
            assert isinstance(json.loads(parts[0]["content"]), list)

    assert seen == {True, False}


@pytest.mark.parametrize("is_added", [False, True])
@pytest.mark.parametrize("dialect", [HERMES, MISTRAL])
def test_a_strict_call_keeps_to_its_parameters_among_any_text(dialect: Dialect, is_added: bool, tmp_path: Path) -> None:
    tokenizer = byte_level()
    if is_added:
        tokenizer.add_tokens([AddedToken(marker, special=True) for marker in dialect.markers])
    added = {marker: number(tokenizer, marker) for marker in dialect.markers} if is_added else {}
    strict = {"type": "function", "function": {"name": "sun", "parameters": PARAMETERS, "strict": True}}
    calls = read_calls([strict], "auto", parallel=True)
    assert calls is not None
    assert calls.is_strict
    matcher = Matcher(grammars(tokenizer, tmp_path).start(calls_shape(calls, dialect, added).grammar))
    token_ids = tokenizer.encode(f"Well: <, {dialect.opening}").ids
    for token_id in token_ids:
        assert matcher.allowed(600)[token_id]
        matcher.accept(token_id)

    random, speech = Random(1), Speech(Manner(dialect))
    while not speech.has_calls:
        token_ids.append(random.choice(matcher.allowed(600).nonzero().flatten().tolist()))
        matcher.accept(token_ids[-1])
        speech = Speech(Manner(dialect))
        parts = speech.push(tokenizer.decode(token_ids, skip_special_tokens=False))

    said = "".join(part.get("content", "") for part in parts)
    arguments = "".join(call["function"]["arguments"] for part in parts for call in part.get("tool_calls", ()))
    assert said == "Well: <,"
    jsonschema.validate(json.loads(arguments), PARAMETERS)


def test_parameters_nobody_asks_to_keep_to_may_be_anything(tmp_path: Path) -> None:
    odd = {"type": "function", "function": {"name": "sun", "parameters": {"type": "object", "not": {}}}}
    calls = read_calls([odd], "auto", parallel=True)
    answer = asked_shape({"guided_json": {"const": 1}})
    assert calls is not None

    assert calls_shape(calls, HERMES, {}, answer).grammar
