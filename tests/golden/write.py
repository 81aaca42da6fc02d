"""Write the golden answers anew: `python -m tests.golden.write`. Look at what has changed before you keep it."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from tests.golden.cases import CASES
from tests.golden.desk import desk
from tests.golden.test_shapes import ANSWERS, asked


async def write(folder: Path) -> None:
    ANSWERS.mkdir(exist_ok=True)
    async with desk(folder) as counter:
        for name, case in CASES.items():
            answers = {shape: (await asked(counter, name, shape, "t", stream=False))[0] for shape in case.asks}
            pretty = orjson.dumps(answers, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            (ANSWERS / f"{name}.json").write_bytes(pretty)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder)))
