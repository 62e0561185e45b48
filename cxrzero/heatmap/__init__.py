"""Where in a film a model sees a finding: maps on the film's own pixels, overlays, and a table of peaks.

arrays.py     maps of one frame, and the .npz file that keeps them
overlay.py    a map over the film, as a picture
"""
