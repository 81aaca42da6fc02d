"""The words of labels in their file, sealed where there is a key: bytes where a text would be.

A label whose words do not open is one whose words are gone: its numbers stay.
"""

import sqlite3

from gateway.answers.resealing import Sealing
from gateway.seal import MAGIC, Seal, Unsealed, key_name, place

ROWS = 256  # of one transaction
_KEY_OF = f"CASE typeof({{0}}) WHEN 'blob' THEN lower(hex(substr({{0}}, {len(MAGIC) + 1}, 4))) ELSE '' END"
# of the key that each kind of words is under; blank ones are under none, and under any
KEYS = tuple(f"CASE {name} WHEN '' THEN NULL ELSE {_KEY_OF.format(name)} END" for name in ("question", "stored"))


def shut(text: str, scope: bytes, entry: str, seal: Seal) -> str | bytes:
    """Words as they are written; blank ones stay blank."""
    if not text or not seal.name:
        return text
    return seal.seal(text.encode("utf-8", "surrogatepass"), place("label", scope, entry))


def opened(said: str | bytes, scope: bytes, entry: str, seal: Seal) -> str:
    """Words as they were; none when they do not open."""
    if isinstance(said, str):
        return said
    try:
        return seal.open(said, place("label", scope, entry)).decode("utf-8", "surrogatepass")
    except (Unsealed, UnicodeDecodeError):
        return ""


def reseal_some(connection: sqlite3.Connection, *, after: int, seal: Seal, done: Sealing) -> int | None:
    """Seal the next labels; the place reached, None at the end."""
    sql = "SELECT seq, scope, entry, question, stored FROM labels WHERE seq > ? ORDER BY seq LIMIT ?"
    rows = connection.execute(sql, (after, ROWS)).fetchall()
    for seq, scope, entry, *words in rows:
        if all(not said or _key_of(said) == seal.name for said in words):
            continue
        plain = [opened(said, scope, entry, seal) for said in words]
        if any(said and not text for said, text in zip(words, plain, strict=True)):
            done.lost += 1
            continue
        again = [shut(text, scope, entry, seal) for text in plain]
        connection.execute("UPDATE labels SET question = ?, stored = ? WHERE seq = ?", (*again, seq))
        done.sealed += 1
    return int(rows[-1][0]) if rows else None


def _key_of(said: str | bytes) -> str:
    return key_name(said) if isinstance(said, bytes) else ""
