"""`cxrzero export`: a finished table as files that programs for looking at films and labelling them read.

options.py       what the command line asks
table.py         the table's scored films, with what stands beside each label
pictures.py      what of each film such a program can show: its file, an address, or a PNG that is drawn here
fiftyone.py      labels.json of FiftyOne
label_studio.py  tasks of Label Studio, and the configuration that shows them
run.py           from the table to the files
"""
