"""The schema of the answers file, and the way to it from every older one.

`totals` and `tenants` are kept by triggers, so they are right whoever writes, and `size` costs nothing.
"""

import sqlite3

from gateway.answers.base import CacheError

APPLICATION_ID = 0x54774963  # "TwIc", in the file's header

# MIGRATIONS[n] brings version n to n + 1; `user_version` in the file's header says which it has
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY,
        scope BLOB NOT NULL, exact BLOB NOT NULL, compat BLOB NOT NULL, id TEXT NOT NULL,
        created_s REAL NOT NULL, expires_s REAL, elapsed_s REAL NOT NULL,
        size_bytes INTEGER NOT NULL, hits INTEGER NOT NULL, worth REAL NOT NULL, priority REAL NOT NULL,
        model TEXT NOT NULL, tags TEXT NOT NULL, embedder TEXT, vector BLOB, question TEXT,
        canonical BLOB NOT NULL, completion BLOB NOT NULL,
        UNIQUE (scope, exact), UNIQUE (id, scope)
    ) {strict};
    CREATE INDEX entries_by_priority ON entries (priority);
    CREATE INDEX entries_by_end ON entries (expires_s) WHERE expires_s IS NOT NULL;
    CREATE INDEX entries_embedded ON entries (embedder, created_s, seq) WHERE vector IS NOT NULL;
    CREATE TABLE totals (
        entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL, floor REAL NOT NULL
    ) {strict};
    INSERT INTO totals VALUES (0, 0, 0.0);
    CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        UPDATE totals SET entries = entries + 1, size_bytes = size_bytes + new.size_bytes;
    END;
    CREATE TRIGGER entry_resized AFTER UPDATE OF size_bytes ON entries BEGIN
        UPDATE totals SET size_bytes = size_bytes + new.size_bytes - old.size_bytes;
    END;
    CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
        UPDATE totals SET entries = entries - 1, size_bytes = size_bytes - old.size_bytes;
    END;
    """,
    """
    ALTER TABLE entries ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN namespace TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN revision TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN schema INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE entries ADD COLUMN sliding_s REAL;
    ALTER TABLE entries ADD COLUMN alias_of TEXT;
    ALTER TABLE entries ADD COLUMN good INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE entries ADD COLUMN bad INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE totals ADD COLUMN policy TEXT NOT NULL DEFAULT 'cost';
    CREATE INDEX entries_of_tenant ON entries (tenant, priority);
    CREATE INDEX entries_aliased ON entries (alias_of, scope) WHERE alias_of IS NOT NULL;
    CREATE TABLE tenants (
        tenant TEXT PRIMARY KEY, entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL
    ) {strict};
    CREATE INDEX tenants_by_size ON tenants (size_bytes);
    INSERT INTO tenants SELECT tenant, count(*), sum(size_bytes) FROM entries GROUP BY tenant;
    CREATE TABLE verdicts (
        scope BLOB NOT NULL, id TEXT NOT NULL, source TEXT NOT NULL,
        is_good INTEGER NOT NULL, comment TEXT NOT NULL, at_s REAL NOT NULL,
        PRIMARY KEY (scope, id, source)
    ) {strict};
    CREATE TRIGGER tenant_entry_added AFTER INSERT ON entries BEGIN
        INSERT INTO tenants VALUES (new.tenant, 1, new.size_bytes) ON CONFLICT (tenant) DO UPDATE SET
            entries = entries + 1, size_bytes = size_bytes + excluded.size_bytes;
    END;
    CREATE TRIGGER tenant_entry_resized AFTER UPDATE OF size_bytes ON entries BEGIN
        UPDATE tenants SET size_bytes = size_bytes + new.size_bytes - old.size_bytes WHERE tenant = new.tenant;
    END;
    CREATE TRIGGER tenant_entry_removed AFTER DELETE ON entries BEGIN
        UPDATE tenants SET entries = entries - 1, size_bytes = size_bytes - old.size_bytes WHERE tenant = old.tenant;
        DELETE FROM tenants WHERE tenant = old.tenant AND entries = 0;
        DELETE FROM verdicts WHERE scope = old.scope AND id = old.id;
    END;
    """,
    """
    CREATE INDEX entries_by_age ON entries (created_s);
    """,
    """
    ALTER TABLE entries ADD COLUMN origin TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE entries ADD COLUMN seal TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN about BLOB;
    ALTER TABLE entries ADD COLUMN words BLOB;
    ALTER TABLE totals ADD COLUMN seal TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE entries ADD COLUMN checksum BLOB;
    """,
    """
    CREATE INDEX entries_by_seal ON entries (seal);
    """,
    "",  # checksums are marks (`gateway.answers.marks`): a version that knows none would delete every row
)


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring the schema to the newest version. Raises `CacheError` for a newer one, and for somebody else's file."""
    if _pragma(connection, "application_id") == APPLICATION_ID and _pragma(connection, "user_version") == len(
        migrations
    ):
        return
    connection.execute("BEGIN IMMEDIATE")  # of two processes that start together, one migrates
    try:
        _refuse_strangers(connection)
        version = _pragma(connection, "user_version")
        if version > len(migrations):
            raise CacheError(f"the answer store has schema {version}; this code knows up to {len(migrations)}")
        strict = "STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
        for script in migrations[version:]:
            for statement in _statements(script.format(strict=strict)):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _refuse_strangers(connection: sqlite3.Connection) -> None:
    owner = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if owner != APPLICATION_ID and tables:
        raise CacheError("the file is a database of something else, not an answer store")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _statements(script: str) -> list[str]:
    """The statements of a script; a trigger holds semicolons of its own."""
    statements, current = [], ""
    for line in script.splitlines():
        current += line + "\n"
        if current.strip() and sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    return statements
