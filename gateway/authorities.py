"""The system's certificate authorities: read when somebody first trusts them, not at the start.

aiohttp makes its default TLS context when it is imported. Reading whom the system trusts takes
25 ms and 2 MB, which a gateway before plain targets has no use for. So it is imported while there
is nobody to read (`unread`), and its context is filled when it is first used (`read`). Where that
were forgotten the context trusts nobody: connections fail, none is opened unchecked.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Where OpenSSL looks before it looks at its own places (SSL_CTX_load_verify_locations(3)).
PLACES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def unread() -> Iterator[None]:
    """Have contexts that are made meanwhile find no authorities. For a process with one thread."""
    before = {name: os.environ.get(name) for name in PLACES}
    os.environ.update(dict.fromkeys(PLACES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def read(context: ssl.SSLContext) -> None:
    """Have the context trust whom the system trusts, if it does not yet."""
    # Not remembered: without a free descriptor nothing is read, and nothing is said of it.
    if not context.cert_store_stats()["x509_ca"]:
        context.load_default_certs()
