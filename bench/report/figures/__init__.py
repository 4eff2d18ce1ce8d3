"""The figures of a report, one a file, drawn as SVG for wide and for narrow screens.

Each has a table that says the same.
"""
