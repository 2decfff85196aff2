"""Fetch the programs that draw the API's document, of exact versions, into the package.

Usage: python vendor.py

npm does the fetching, and checks what it fetched. What comes out is the same each time: gzip
without a time. One thing is changed: ReDoc's mark comes from another host, and is left out.
"""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).parent.parent / "gateway" / "apidocs" / "static"
PACKAGES = {  # by file in the package, the name that it has here
    "swagger-ui-dist@5.35.0": {
        "swagger-ui-bundle.js": "swagger-ui-bundle.js.gz",
        "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
        "swagger-ui.css": "swagger-ui.css.gz",
        "LICENSE": "swagger-ui.LICENSE.txt",
        "NOTICE": "swagger-ui.NOTICE.txt",
    },
    "redoc@2.5.4": {
        "bundles/redoc.standalone.js": "redoc.standalone.js.gz",
        "bundles/redoc.standalone.js.LICENSE.txt": "redoc.standalone.js.LICENSE.txt",
        "LICENSE": "redoc.LICENSE.txt",
    },
}
CHANGED = {b'"https://cdn.redoc.ly/redoc/logo-mini.svg"': b'"data:,"'}


def fetch(package: str, files: dict[str, str], folder: Path) -> None:
    """Put the files of one package in their place."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    with tarfile.open(folder / packed.stdout.decode().split()[-1]) as archive:
        for name, target in files.items():
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise SystemExit(f"{package} has no {name}")
            content = member.read()
            for old, new in CHANGED.items():
                content = content.replace(old, new)
            if target.endswith(".gz"):
                content = gzip.compress(content, 9, mtime=0)
            (STATIC / target).write_bytes(content)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for package, files in PACKAGES.items():
            fetch(package, files, Path(folder))


if __name__ == "__main__":
    main()
