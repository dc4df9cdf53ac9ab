"""Finds `handle` in a source file without importing it, under the function's own interpreter: syntax differs."""

from __future__ import annotations

import ast

ALLOWED = ("client", "data", "secrets", "function_call_info")
"""The arguments that a `handle` may take; all are passed by keyword (contract 11.3)."""

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NOT_CALLABLE = (
    ast.Constant,
    ast.JoinedStr,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def fault(source: bytes, name: str) -> str:
    """What is wrong with the `handle` of a source file, in one sentence; empty when nothing is.

    Args:
        source: the file, in any encoding that PEP 263 knows.
        name: what the file is called in messages.
    """
    try:
        tree = ast.parse(source, filename=name)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        return f"Syntax error in {name}{where}: {error.msg}{text}"
    except ValueError as error:  # a NUL byte, before 3.12
        return f"Syntax error in {name}: {error}"
    except (RecursionError, MemoryError):
        return f"Syntax error in {name}: it is nested too deeply to be parsed"
    found = _bindings(tree.body)
    if not found:
        return f"{name} has no `handle` at module level; the entry file must define it"
    for binding in found:
        reason = _unfit(binding)
        if reason:
            return f"{name}, line {binding.lineno}: {reason}"
    return ""


def _bindings(body: list[ast.stmt]) -> list[ast.stmt | ast.expr]:
    """What `handle` may be once `body` has run: a binding that always happens hides those before it."""
    found: list[ast.stmt | ast.expr] = []
    for statement in body:
        made = _made_by(statement)
        if made is not None:
            found = [made]
        elif isinstance(statement, ast.Delete) and any(map(_binds, statement.targets)):
            found = []
        elif isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            found.append(statement)
        elif not isinstance(statement, _SCOPES):
            for branch in _branches(statement):
                found += _bindings(branch)
    return found


def _branches(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The bodies of an `if`, `try`, `with`, loop or `match`: they run in the module's own scope."""
    branches: list[list[ast.stmt]] = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
    for part in ("handlers", "cases"):
        branches += [branch.body for branch in getattr(statement, part, [])]
    return branches


def _made_by(statement: ast.stmt) -> ast.stmt | ast.expr | None:
    """What `statement` itself binds to `handle`: the value where it shows, else the statement; None for nothing."""
    if isinstance(statement, _SCOPES):
        return statement if statement.name == "handle" else None
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name) and target.id == "handle":
                return statement.value
            if _binds(target):
                return statement
    if isinstance(statement, ast.AnnAssign) and statement.value is not None and _binds(statement.target):
        return statement.value
    if isinstance(statement, ast.Import):
        names = [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
        return statement if "handle" in names else None
    if isinstance(statement, ast.ImportFrom):
        return statement if any((alias.asname or alias.name) == "handle" for alias in statement.names) else None
    if isinstance(statement, ast.Expr):
        for node in ast.walk(statement):
            if isinstance(node, ast.NamedExpr) and _binds(node.target):
                return node.value
    return None


def _binds(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return any(map(_binds, target.elts))
    if isinstance(target, ast.Starred):
        return _binds(target.value)
    return isinstance(target, ast.Name) and target.id == "handle"


def _unfit(binding: ast.stmt | ast.expr) -> str:
    """Why a binding cannot be called by the contract; empty when it can, or when only running it would tell."""
    if isinstance(binding, ast.Import):
        return "`handle` is a module; it must be something that can be called"
    if isinstance(binding, _NOT_CALLABLE):
        return "`handle` is a plain value; it must be something that can be called"
    if not isinstance(binding, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return ""
    taken = binding.args
    allowed = ", ".join(ALLOWED)
    if taken.posonlyargs:
        name = taken.posonlyargs[-1].arg
        return f"`handle` takes `{name}` by position only, but is called with keywords; remove the `/`"
    if taken.vararg:
        return (
            f"`handle` takes `*{taken.vararg.arg}`, but is called with keywords, so nothing can arrive there; "
            f"it may take {allowed}"
        )
    for argument in [*taken.args, *taken.kwonlyargs]:
        if argument.arg not in ALLOWED:
            return f"`handle` takes `{argument.arg}`; it may only take {allowed}"
    return ""
