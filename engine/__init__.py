"""Sidelight engine: trains, serves and audits semantic identifiers; knows nothing of the dashboard."""

import os

# Idle OpenMP threads sleep in place of spinning: on a busy machine a training step is over ten times faster so.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
