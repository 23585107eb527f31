# SPDX-License-Identifier: Apache-2.0
"""The container image's identity: sha256, taken once and remembered by size, modification time and inode."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from ade_hpc.errors import AdeError
from ade_hpc.store.files import read_json, write_json
from ade_hpc.store.records import ImageRecord

CACHE = "images.json"


def identify_image(image: Path, cache_dir: Path) -> ImageRecord:
    """Raises AdeError where the image is missing or unreadable."""
    try:
        info = image.stat()
        if not image.is_file():
            raise AdeError(f"image {image}: is no file; give the path of a .sif file")
        known = read_json(cache_dir / CACHE) or {}
        same = ImageRecord(str(image), str(known.get("sha256")), info.st_size, info.st_mtime_ns, info.st_ino)
        if known == asdict(same):
            return same
        with image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AdeError(
            f"image {image}: {error.strerror}; build it with `apptainer build`, or set `image: null`"
        ) from error
    record = replace(same, sha256=digest)
    write_json(cache_dir / CACHE, asdict(record))
    return record


def find_container(named: str | None) -> str:
    """Absolute path of apptainer, or of singularity where only that exists. Raises AdeError where there is neither."""
    for name in [named] if named else ["apptainer", "singularity"]:
        found = shutil.which(name)
        if found:
            return str(Path(found).absolute())
    raise AdeError(
        f"{named or 'apptainer'} is not on PATH; load its module, name it as `container:` in site.yaml, "
        "or set `image: null`"
    )
