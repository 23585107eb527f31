# SPDX-License-Identifier: Apache-2.0
"""The test split: data, architectures and recipes that share nothing with tuning and validation."""

from curves_lab.unseen import faults_gradual, faults_lost, faults_sudden, healthy, healthy_policies
from curves_lab.unseen.book import BOOK

__all__ = ["BOOK", "faults_gradual", "faults_lost", "faults_sudden", "healthy", "healthy_policies"]
