"""What is measured while training goes on: retrieval, statements, labels; the log and its curves."""
