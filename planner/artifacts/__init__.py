"""Reading Cyntra's files: the only place that knows their layout."""
