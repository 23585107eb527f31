# SPDX-License-Identifier: Apache-2.0
"""``python -m ade_hpc.job ATTEMPT_DIR``: one start of an attempt, as the local scheduler runs it."""

import sys

from ade_hpc.job.payload import main

sys.exit(main(sys.argv[1]))
