# SPDX-License-Identifier: Apache-2.0
"""A labelled laboratory of learning curves: small networks that are really trained, with faults and healthy twins."""
