"""A node of the hospital's network: films come in by DICOM or into a watched folder, are scored, and results go back.

`config.py`: what node.toml says, `keys.py` reads it. `objects.py`: files of what was received, until it is delivered;
`identity.py`: what an object says it is. `receive.py`: the DICOM service, with `incoming.py`, which writes an object
while it arrives, and `connection.py`, which bounds what a peer may ask for. `watch.py`: the watched folder.
"""
