"""How executions are spread, paid, stopped, and resumed."""
