"""The list of stored answers: what is asked of it wrongly is named."""

from pathlib import Path
from typing import Any

import pytest

from gateway.curation.archive import Archive
from gateway.errors import InvalidRequest
from tests.gateway.house import house


@pytest.mark.parametrize("limit", ["0", "501", "9" * 9, "9" * 5000, "-1", "", "1.5", "\u0663"])
async def test_a_limit_that_is_none_is_named(tmp_path: Path, limit: str) -> None:
    unused: Any = None
    async with house(tmp_path) as home:
        with pytest.raises(InvalidRequest) as raised:
            await Archive(home.answers, unused, unused, None).page({"limit": limit})
    assert raised.value.param == "limit"
