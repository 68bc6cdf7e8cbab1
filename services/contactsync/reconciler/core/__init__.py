"""Decisions of the reconciler: pure, without clock, network or logging."""
