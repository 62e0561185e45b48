"""From files to rows in constant memory: decode and preprocess in parallel, encode in batches, score in order.

items.py        what flows: frames and failures; what is counted on the way
live.py         what a run has done so far, for a display
selection.py    which readable images are scored
decode_file.py  one file → its frames, with the encoders' inputs
onethread.py    what one thread uses at a time
threads.py      many files at once, in threads
processes.py    the same in processes
workers.py      the pool of processes, which training has too
slots.py        memory that they share with their parent
films.py        which films go whole to an encoder that fits them
embedder.py     one model's part: preprocess, encode, remember
encoding.py     batches through the encoders; on a GPU beside the loop
cached.py       files that the cache knows, and files handed to it
run.py          the one loop that knows all stages
"""
