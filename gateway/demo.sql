-- The tables of the demo that are not the gateway's own.

CREATE TABLE predictions (
    symbol TEXT NOT NULL,
    predicted_at TEXT NOT NULL,
    predicted_price REAL NOT NULL,
    confidence REAL NOT NULL
);
CREATE INDEX predictions_newest ON predictions (symbol, predicted_at DESC);
INSERT INTO predictions
SELECT column1, strftime('%Y-%m-%dT%H:%M:%SZ'), column2, column3
FROM (VALUES ('AAPL', 231.0, 0.91), ('MSFT', 428.5, 0.88), ('GOOG', 176.6, 0.77), ('AMZN', 213.5, 0.63));

CREATE TABLE pages (
    id INTEGER PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    body TEXT,
    status TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'live'))
);
INSERT INTO pages (slug, title, body, status) VALUES
    ('welcome', 'Welcome', 'A row of a table that the gateway did not make.', 'live'),
    ('tea', 'On tea', NULL, 'draft');
