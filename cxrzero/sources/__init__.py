"""From the user's paths and addresses to a stream of films, in an order that never changes.

refs.py      a film that was found, and what tells its content
lists.py     @list files
walk.py      files and folders of this machine
packed.py    .zip and .tar files, which are folders where they are named
objects.py   what object stores give
find.py      all of these as one stream
reader.py    decodes a film that was found, whatever its place is

Arguments come in the order given; inside a folder the walk is depth first and compares names as bytes
(`os.fsencode`), so a table has the same rows in the same places on every machine. What becomes a row: every file named
explicitly, every file whose suffix claims an image, and every file that is an image or DICOM by content. Everything
else in a folder is ignored and counted, and so is what systems leave there (`cxrzero.images.leftovers`). A DICOMDIR
that is named stands for the images that it lists; in a folder it is ignored, because the walk finds those images
itself. The address of an archive stands for the instances in it (`cxrzero.archive`).

Importing this package loads neither NumPy nor pydicom nor a library of the network.
"""

from cxrzero.sources.find import check_paths, find_images
from cxrzero.sources.refs import FILES_ONLY, FileIdentity, ImageRef, WalkCounts, identity_of
from cxrzero.sources.walk import IMAGE_SUFFIXES

__all__ = [
    "FILES_ONLY",
    "IMAGE_SUFFIXES",
    "FileIdentity",
    "ImageRef",
    "WalkCounts",
    "check_paths",
    "find_images",
    "identity_of",
]
