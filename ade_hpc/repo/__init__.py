# SPDX-License-Identifier: Apache-2.0
"""What ran is known: edit one scalar, commit on the experiment's branch, check a commit out as a snapshot."""
