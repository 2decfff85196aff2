"""Rows of tables that somebody else migrates, as they are found in the database.

A table is read from the database's catalogue (`Schema`), never changed. From its schema come the
models of requests and answers, and every identifier that stands in a statement; whatever a client
sends is a parameter of it. What two databases do differently is a `Dialect`.
"""
