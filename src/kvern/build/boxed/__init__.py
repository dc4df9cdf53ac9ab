"""What builds run in boxes, under a function's interpreter: standard library only, Python 3.10 and newer."""
