"""The grammar of HTTP/1.1 messages (RFC 9112) over raw bytes: no I/O, no state but a memory."""
