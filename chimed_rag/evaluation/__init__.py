"""Numbers one can defend: tasks, metrics, statistics, reports."""
