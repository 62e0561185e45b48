"""A GPU measured in one run, most important rows first; `benchmarks/gpu_all.sh` starts it.

run.py      what is done next, until all is done or the time is over; standard library only
plan.py     the rows, in their order, and what each of them needs
log.py      one JSON object on a line for each row, written when it is known
worker.py   what the programs below share: waiting for their turn, telling a row
device.py   the card: name, driver, memory in use, peaks of the data sheet

programs, each a process:
probe.py    the machine, the libraries, and what is missing
films.py    films drawn once, as PNG, JPEG and DICOM
models.py   one model with random weights, and what the CPU computes with it
ceiling.py  products of large matrices: what the card really reaches
encode.py   one model, backend and precision, calls of several sizes
compiled.py torch.compile beside the encoder
whole.py    films to scores with all cores, beside decoders alone and encoder alone
before.py   preprocessing alone, and its last steps on the GPU against the CPU

table.py    the log → tables in Markdown
"""
