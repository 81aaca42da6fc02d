"""The words of labels in their file, sealed where there is a key: bytes where a text would be.

A label whose words do not open is one whose words are gone: its numbers stay.
"""

import sqlite3

from gateway.answers.resealing import Sealing
from gateway.seal import MAGIC, Seal, Unsealed, key_name, place

ROWS = 256  # of one transaction


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


def is_under(connection: sqlite3.Connection, seal: Seal) -> bool:
    """Whether all words were put under this key, and none came otherwise since."""
    connection.execute("CREATE TABLE IF NOT EXISTS seal (name TEXT NOT NULL)")
    if connection.execute("SELECT 1 FROM labels LIMIT 1").fetchone() is None:
        note(connection, name=seal.name)  # there is nothing to seal
    found = connection.execute("SELECT name FROM seal").fetchone()
    if (found[0] if found else "") != seal.name:
        return False
    among = ", ".join("?" * len(seal.older))
    key = f"CASE typeof({{0}}) WHEN 'blob' THEN lower(hex(substr({{0}}, {len(MAGIC) + 1}, 4))) ELSE '' END"
    has_older = " OR ".join(f"{name} <> '' AND {key.format(name)} IN ({among})" for name in ("question", "stored"))
    asked = f"SELECT 1 FROM labels WHERE {has_older} LIMIT 1"  # noqa: S608
    return not seal.older or connection.execute(asked, (*seal.older, *seal.older)).fetchone() is None


def note(connection: sqlite3.Connection, *, name: str) -> None:
    """All words are under this key."""
    connection.execute("DELETE FROM seal")
    connection.execute("INSERT INTO seal VALUES (?)", (name,))


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
