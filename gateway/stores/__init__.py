"""The servers that the gateway may be given: each client library in one module."""
