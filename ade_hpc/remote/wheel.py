# SPDX-License-Identifier: Apache-2.0
"""Pack the ade-hpc that runs here into a wheel, so that the login node gets this very code.

A wheel of pure Python is a zip file with a list of what is in it (packaging.python.org, "Binary distribution format"),
so neither a build tool nor the source tree is needed: the files come from the imported package, the metadata from its
installation. The same code gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import ade_hpc

DISTRIBUTION = "ade-hpc"
WHEEL = "Wheel-Version: 1.0\nGenerator: ade-hpc\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
KEPT = ("METADATA", "entry_points.txt")


def pack(folder: Path) -> Path:
    """Write the wheel into ``folder``. What it requires is what the installation here said when it was made."""
    version = distribution(DISTRIBUTION).version
    info = f"ade_hpc-{version}.dist-info"
    path = folder / f"ade_hpc-{version}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted([*_package(), *_metadata(info)]):
            archive.writestr(_entry(name), data)
            record.append(f"{name},sha256={_digest(data)},{len(data)}\n")
        archive.writestr(_entry(f"{info}/RECORD"), "".join([*record, f"{info}/RECORD,,\n"]))
    return path


def _package() -> Iterator[tuple[str, bytes]]:
    top = Path(ade_hpc.__file__).parent
    for path in top.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"ade_hpc/{path.relative_to(top).as_posix()}", path.read_bytes()


def _metadata(info: str) -> Iterator[tuple[str, bytes]]:
    installed = distribution(DISTRIBUTION)
    for name in KEPT:
        yield f"{info}/{name}", (installed.read_text(name) or "").encode()
    for name in installed.metadata.get_all("License-File") or []:
        yield f"{info}/licenses/{name}", (installed.read_text(f"licenses/{name}") or "").encode()
    yield f"{info}/WHEEL", WHEEL.encode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # as of 1980, the beginning of time for zip files
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
