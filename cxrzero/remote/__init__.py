"""Films of object stores and web servers that the user names by an address: listed, fetched ahead, kept nowhere.

address.py     the address of an object, or of what stands for a folder
service.py     what is asked of a store, whatever it speaks
s3.py          Amazon S3 and what speaks like it
gcs.py         Google Cloud Storage
azure.py       Azure Blob Storage
web.py         files and listing pages of a web server
filesystem.py  every other store that fsspec knows; how fsspec is kept from its own configuration, caches and loops
answers.py     what libraries raise, as errors of ours
listing.py     objects below an address that become rows, in byte order of their keys
open.py        which of these modules speaks to a store
ahead.py       contents that are fetched before they are asked for, within bounded memory
objects.py     what commands hold: options, stores that are open, films
upload.py      --out: what was written here, sent there whole

Importing this package or its `address` loads neither fsspec nor a library of the network.
"""
