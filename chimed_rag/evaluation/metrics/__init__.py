"""Metrics, each by a library."""
