# SPDX-License-Identifier: Apache-2.0
"""Is the image still the one that was submitted (invariant 7)?"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ade_hpc.store.records import ImageRecord


def wrong_image(image: ImageRecord | None) -> tuple[str, str]:
    """Why this is not the image that was submitted (a cause, and a sentence), or empty strings. The digest is taken
    only if the file moved."""
    if image is None:
        return "", ""
    try:
        info = Path(image.path).stat()
    except OSError as error:
        return "image-missing", f"{image.path}: {error.strerror}"
    if (info.st_size, info.st_mtime_ns, info.st_ino) == (image.size, image.mtime_ns, image.inode):
        return "", ""
    with Path(image.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest == image.sha256:
        return "", ""
    return "image-changed", f"{image.path}: changed since it was submitted; submit again"
