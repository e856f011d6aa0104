"""Readers of the official files of each kind of task, a module a kind."""
