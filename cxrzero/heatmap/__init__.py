"""Where in a film a model sees a finding: maps on the film's own pixels, overlays, and a table of peaks.

options.py     what the command line asks
cells.py       where in a model's input its patches look, by its graph
places.py      from a film's stored pixels to a model's input, and back
films.py       what is kept of a film
patches.py     maps of one model's patches
occlusion.py   maps of any model: cover a place and look what it then says
methods.py     which of both, and why
mapper.py      films → maps
heights.py     how high a map is, and where
arrays.py      maps of one frame, and the .npz file that keeps them
colours.py     the colours of a map
overlay.py     a map over the film, as a picture
thresholds.py  below which probability a finding counts as not found
table.py       films of a prediction table, and whether they are still the same
folder.py      heatmaps.csv and what lies beside it
plan.py        what can be checked before a film is read
writer.py      rows, pictures and arrays of a run
run.py         from films to a folder
one.py         the maps of one frame, for Screener.heatmap
notebook.py    how a notebook shows them
"""
