"""A node of the hospital's network: films come in by DICOM or into a watched folder, are scored, and results go back.

config.py      what node.toml says; keys.py reads it, options.py is the command's line
listener.py    a node from its start to its end
receive.py     the DICOM service
connection.py  pynetdicom's server, bounded in time, memory and numbers
incoming.py    an object while it arrives
watch.py       the watched folder
intake.py      how an object becomes the node's: objects.py keeps its file, identity.py reads its UIDs
queue.py       what has arrived and what became of it; outbox.py the reports on their way, durable.py the file of both
work.py        the loop from the queue to scores and reports
scoring.py     the process that scores, scorer.py what runs in it; rows.py packs what it finds, lines.py writes it down
reporting.py   reports of closed studies
deliver.py     reports to the peer of recipient.py: cstore.py or stow.py
status.py      how the node is doing; statuspage.py shows it
remarks.py     what is said while it runs, sparingly
"""
