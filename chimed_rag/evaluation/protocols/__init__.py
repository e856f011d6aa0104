"""Protocols, frozen and named: how a kind of task is asked and judged."""
