"""What runs inside a box, under the function's own interpreter (3.10 or newer): standard library only.

A zygote (`zygote.py`) forks workers; a worker (`worker.py`) loads the handler once, then for ever: next call, run it,
answer. In a box this folder is loaded by path as the package `_kvern_runner` (`__main__.py`), so that nothing in a
function's folder can take its place and nothing of it stands in the way of a function's own modules.
"""
