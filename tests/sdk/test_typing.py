"""The SDK's types say what it does."""

from pathlib import Path

from mypy import api

USAGES = Path(__file__).with_name("usages.py")


def test_every_type_is_what_the_usages_say_and_what_is_wrong_is_refused() -> None:
    said, crash, code = api.run(["--warn-unused-ignores", "--no-error-summary", str(USAGES)])

    assert (said, crash, code) == ("", "", 0)
