"""Results as DICOM objects, which go back to where films are read. The one output that carries a patient's identity.

options.py   what the command line asks
codes.py     findings → coded concepts; the user's own codes
source.py    a film's DICOM file → the attributes that its results take over
objects.py   what all objects made here have in common: identity, equipment, UIDs, dates
tree.py      content items of a structured report
wording.py   what a report says in words
report.py    rows of one study → one Comprehensive 3D SR
maps.py      what objects of maps have in common: parametric_map.py (numbers), secondary_capture.py (pictures)
mapped.py    the folder of `cxrzero heatmap` → objects
table.py     a prediction table → its rows, a study at a time
films.py     rows → films that still are what the table says, and what is said of the others
write.py     an object → a file that is named by its UID
run.py       from a table to a folder
"""
