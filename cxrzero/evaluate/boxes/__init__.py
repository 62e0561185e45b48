"""Do maps point at what readers boxed? Hit rate and IoU of each finding, beside baselines that see no film.

table.py    the boxes that readers drew
seen.py     which films the model was trained on, as far as the user says
maps.py     where the maps come from: a folder of .npz files, or films that are mapped first
map_first.py   … and how these are mapped
gather.py   maps and boxes of the same films → what each map has of its boxes
score.py    hit rates, IoU and gains of one finding, with intervals and verdict
run.py      one evaluation from options to findings, and what its reader must be told
outputs.py  location.csv and location.json
card.py     location.json → `location` of a model's own model.json
"""
