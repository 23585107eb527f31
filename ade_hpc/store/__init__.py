# SPDX-License-Identifier: Apache-2.0
"""Every path in one place, the ledger, the inbox and the records that compute nodes leave behind."""
