"""`planner export-table`: a ledger as Parquet tables, for other tools and for `planner bench --executor replay`.

columns.py      which tables there are, and what each of their columns means
identifiers.py  ids, names of tools and paths as hashes, for who shares a bench
rows.py         from a ledger's cases and executions to rows
export.py       all of it written
"""
