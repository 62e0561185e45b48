"""`cxrzero predict`: a checked plan, a run that writes the table and its record, and shards that are merged."""
