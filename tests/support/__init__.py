# SPDX-License-Identifier: Apache-2.0
"""What several test folders share: a trainer without torch, a scratch project, a user's environment."""
