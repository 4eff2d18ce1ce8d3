"""`planner view`: the report of records as they are now, on this machine alone.

watching.py     which files a report is made of, and whether they have changed
live.py         the newest page, made again when they have
server.py       hands it to a browser on this machine that knows the token
cli.py          the command
"""
