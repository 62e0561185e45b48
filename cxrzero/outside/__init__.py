"""What the libraries underneath would tell or ask the world outside, and that they do not.

telemetry   reports of use: off as soon as cxrzero is imported, before a library that reports is
offline     the Hugging Face Hub: out of reach for libraries that look there by themselves

Only what names an address opens a connection: `registry/` for `models pull`, `archive/` for the address of an archive,
`database/` for that of a server, `node/` for what its configuration names.
"""
