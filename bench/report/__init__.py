"""`planner report`: one self-contained HTML page from the records that commands leave.

sources.py      what was named: ledgers, results, runs, studies
grid.py         a ledger as a grid: cases times actions, with what each came to
standing.py     where every policy stands on the held-out cases
answer.py       the one sentence, and what to measure next
runs.py, studies.py, facts.py       what else there is to show
figures/        one figure a file, drawn as SVG
drilldown.py    the data of the page's table of cases
page.py         all of it put together by the template
"""
