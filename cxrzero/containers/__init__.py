"""Films inside of .zip and .tar files, which are read where they are: nothing is unpacked to a disk.

blob.py       the bytes of a container, in any order; those of a local file
limits.py     what is refused before it is read
entry.py      a member: where in the container it is, and what is wrong with it
names.py      names of members: which are refused, which are left by systems
zips.py       the directory of a .zip file, and its members' bytes
tars.py       the headers of a .tar file, one after the other
directory.py  many members in little memory, in the order of a folder's names
open.py       one container, opened; a few of them, kept open

Python's zipfile and tarfile are not used to read directories: zipfile holds hundreds of bytes for each member and ends
at one name that is not UTF-8; tarfile takes a damaged header for the end, and reads any length that a header claims.
tarfile's parser of a single header is used.
"""
