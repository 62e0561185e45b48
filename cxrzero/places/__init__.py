"""What a path names: a file of this machine, or a film that is elsewhere.

kind.py      which of the four it is
members.py   films inside of a .zip or .tar file: `a.zip!/dir/x.dcm`
printed.py   a path as tables write it, read back

Nothing is opened here; that is done by `cxrzero.sources.reader`.
"""
