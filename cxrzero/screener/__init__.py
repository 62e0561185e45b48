"""The Python API, and what it stands on.

models.py    models that are open, what a question comes to for them, and the stream of rows that films become
screener.py  one object that holds them and answers questions about images
"""

from cxrzero.screener.screener import Screener

__all__ = ["Screener"]
