"""The parts of a report: what stands in it (`tables`), drawings (`curves`, `figures`, `canvas`), and its forms (`html`, `markdown`).

`evaluation.report.write_report` puts them together. Not covered: taking the numbers.
"""
