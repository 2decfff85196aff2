"""The tables of pages.yaml, made by somebody who is not the gateway.

python deploy/examples/pages_migrate.py [FILE]      (pages.db)
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

SCHEMA = """
    CREATE TABLE IF NOT EXISTS authors (
        id INTEGER PRIMARY KEY,
        name VARCHAR(80) NOT NULL UNIQUE
    );
    CREATE TABLE IF NOT EXISTS pages (
        id INTEGER PRIMARY KEY,
        slug VARCHAR(64) NOT NULL UNIQUE,
        title VARCHAR(200) NOT NULL,
        body TEXT,
        status TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'live', 'gone')),
        author INTEGER REFERENCES authors (id),
        price NUMERIC(10, 2),
        tags JSON,
        created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE VIEW IF NOT EXISTS live_pages AS
        SELECT id, slug, title, body, created FROM pages WHERE status = 'live';
    INSERT OR IGNORE INTO authors (id, name) VALUES (1, 'Ann');
    INSERT OR IGNORE INTO pages (id, slug, title, body, status, author, tags) VALUES
        (1, 'welcome', 'Welcome', 'The first page.', 'live', 1, '["first"]'),
        (2, 'next', 'What comes next', NULL, 'draft', 1, NULL);
"""


def migrate(file: Path) -> None:
    """Make what is not there yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(SCHEMA)


if __name__ == "__main__":
    migrate(Path(sys.argv[1] if len(sys.argv) > 1 else "pages.db"))
