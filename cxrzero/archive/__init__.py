"""Films of an archive (PACS) that the user names by its address: listed, fetched one by one, kept nowhere.

address.py      the address of an archive, or of a study, series or instance in it
query.py        --query: which studies
credentials.py  user name, password and token from the environment or a netrc file
limits.py       how long is waited, how often is tried again, how much is taken
service.py      what is asked of an archive, whatever it speaks
http.py         GET to one host and no other, bounded in size and time
multipart.py    the object in the body of an answer
dicomweb.py     QIDO-RS and WADO-RS
dimse.py        C-FIND and C-GET
listing.py      studies, series, instances, in an order that does not change
ahead.py        lists that come while films are read
archives.py     what commands hold: options, services that are open, films

Importing this package or its `address` loads neither pydicom nor a library of the network.
"""
