"""The parts of a report.

What stands in it: `sections`, `tables`, `examples`. Drawings: `curves`, `figures`, `canvas`, `palette`. Its forms:
`html`, `markdown`. `evaluation.report.write_report` puts them together. Not covered: taking the numbers.
"""
