# SPDX-License-Identifier: Apache-2.0
"""Python reads this at its start where PYTHONPATH names the folder: a node whose clock is CLOCK_OFF_S seconds off.

The kernel's clock, and with it the times of files, stays right, as on a file server.
"""

import os
import time

_right = time.time
_off = float(os.environ.get("CLOCK_OFF_S", "0"))
time.time = lambda: _right() + _off
