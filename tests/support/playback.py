# SPDX-License-Identifier: Apache-2.0
"""A trainer that trains nothing: it logs what another one has logged, in the same order, in a few seconds.

It stands beside a copy of tiny_trainer.py called train.py, and plays ``record.json``: ``[[tag, step, value], ...]``.
Then it makes the file ``played`` in its TMPDIR, and lives on until there is a file ``seen`` beside that.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

SLICES = 40


def main() -> None:
    from train import Events

    parser = argparse.ArgumentParser()
    parser.add_argument("--tensorboard", required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    points = json.loads(Path("record.json").read_text())
    events, size = Events(args.tensorboard), len(points) // SLICES + 1
    for first in range(0, len(points), size):
        for tag, step, value in points[first : first + size]:
            events.scalars(step, **{tag.replace("/", "__"): float(value)})
        time.sleep(args.seconds / SLICES)
    scratch = Path(os.environ["TMPDIR"])
    (scratch / "played").touch()
    while not (scratch / "seen").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main()
