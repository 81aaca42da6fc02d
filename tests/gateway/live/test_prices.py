"""The price list: found by name or pattern, checked, kept."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import InvalidRequest, PricesChanged
from gateway.live.prices import FILE, FREE, Price, Prices, checked, checked_currency


def priced(*names: str) -> Prices:
    prices = Prices()
    prices.models = {name: Price(float(at)) for at, name in enumerate(names, 1)}
    return prices


FOUND = [
    ("gpt-4o", "gpt-4o"),  # written out
    ("gpt-4o-mini-2024", "gpt-4o-mini*"),  # the longest pattern
    ("gpt-4o-2024", "gpt-4o*"),
    ("gpt-4o-2024-08-06", "gpt-4o"),  # a dated version of a name
    ("gpt-4o@20240806", "gpt-4o"),
    ("llama", "*"),
    ("GPT-4o", "*"),  # case counts
]


@pytest.mark.parametrize(("model", "name"), FOUND)
def test_the_name_wins_then_that_of_a_dated_version_then_the_longest_pattern(model: str, name: str) -> None:
    prices = priced("*", "gpt-4o*", "gpt-4o-mini*", "gpt-4o")

    assert prices.of(model) == prices.models[name]


def test_a_model_without_a_price_is_told_of() -> None:
    assert Prices().of("my-model") is None
    assert Prices().told(["my-model", "gpt-4o"])["unpriced"] == ["my-model"]


def test_the_gateways_own_model_is_free_unless_the_list_has_it() -> None:
    prices = Prices(own=("embedder",))
    assert (prices.of("embedder"), prices.told(["embedder"])["unpriced"]) == (FREE, [])
    listed = Prices(own=("embedder",))
    listed.models = {"*": Price(2.0)}
    assert listed.of("embedder") == Price(2.0)


async def test_a_list_is_kept_and_read_again(tmp_path: Path) -> None:
    await Prices(tmp_path / "new" / FILE).change("EUR", {"größer*": Price(3.0, 1.5, 6.0)})
    again = Prices(tmp_path / "new" / FILE)
    again.open()

    assert (again.currency, again.models, again.is_shipped) == ("EUR", {"größer*": Price(3.0, 1.5, 6.0)}, False)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"currency": "USD", "models": {"m": {"prompt": -1}}}'])
def test_a_file_that_cannot_be_used_is_told_and_left_alone(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / FILE
    file.write_text(text)
    prices = Prices(file)
    prices.open()

    assert prices.is_shipped
    assert "cannot be used" in caplog.text
    assert file.read_text() == text


async def test_a_list_that_cannot_be_kept_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file, no folder")
    prices = Prices(tmp_path / "a" / FILE)

    with pytest.raises(OSError, match="a"):
        await prices.change("EUR", {})
    assert prices.currency == "USD"


async def test_a_list_that_somebody_else_changed_since_it_was_read_is_not_replaced(tmp_path: Path) -> None:
    prices = Prices(tmp_path / FILE)
    read = prices.told()["version"]
    await prices.change("EUR", {"a": Price(1.0)}, read)
    kept = (tmp_path / FILE).read_text()

    with pytest.raises(PricesChanged):
        await prices.change("EUR", {"b": Price(1.0)}, read)
    assert (prices.models, (tmp_path / FILE).read_text()) == ({"a": Price(1.0)}, kept)
    again = Prices(tmp_path / FILE)
    again.open()
    await again.change("EUR", {}, prices.told()["version"])  # it holds over a restart
    await again.change("EUR", {"b": Price(1.0)})  # who names none replaces what is there


def test_who_gives_no_cached_price_has_no_discount() -> None:
    assert checked({"m": {"prompt": 2, "completion": 3}}) == {"m": Price(2.0, 2.0, 3.0)}


WRONG: list[tuple[Any, str]] = [
    ([], "models"),
    ({"": {}}, "models"),
    ({"m\n": {}}, "models"),
    ({"m": 1}, "models.m"),
    ({"m": {"cheap": 1}}, "models.m"),
    ({"m": {"prompt": "1"}}, "models.m.prompt"),
    ({"m": {"prompt": True}}, "models.m.prompt"),
    ({"m": {"prompt": -0.1}}, "models.m.prompt"),
    ({"m": {"prompt": float("nan")}}, "models.m.prompt"),
    ({"m": {"prompt": 1, "cached_prompt": 2}}, "models.m.cached_prompt"),
    ({str(n): {} for n in range(501)}, "models"),
]


@pytest.mark.parametrize(("models", "param"), WRONG)
def test_a_wrong_list_names_the_field(models: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(models)
    assert caught.value.param == param


@pytest.mark.parametrize("currency", ["", "dollars", "U1D", "ÄÖÜ", 3])
def test_a_currency_is_three_letters(currency: Any) -> None:
    with pytest.raises(InvalidRequest):
        checked_currency(currency)
