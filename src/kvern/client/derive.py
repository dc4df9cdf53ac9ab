"""Writes the synchronous API, `kvern.client.sync`, from the asynchronous one, `kvern.client.api`.

    python -m kvern.client.derive            writes the files
    python -m kvern.client.derive --check    says whether they are current

Needs ruff, for the layout.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_MODULES = ("calls", "schedules", "functions", "uploads", "downloads", "files", "iam")
_HEAD = '"""The synchronous twin of `kvern.client.api.{module}`, written by `kvern.client.derive`: do not edit."""'
_NOQA = "# ruff: noqa: A002 (the names of the arguments are those of the official SDK)"


def derived(module: str) -> str:
    """The source of the synchronous twin of a module."""
    source = (_HERE / "api" / f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    names = _class_modules()
    body: list[ast.stmt] = []
    classes: list[ast.ClassDef] = []
    for node in tree.body[1:]:
        # The only `if` at the top of a module is that of the types.
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.If)):
            body.append(node)
        elif isinstance(node, ast.ClassDef) and node.name in names:
            classes.append(node)
    own = [node.name for node in classes]
    used = {name for node in classes for name in _names(node) if name in names and names[name] != module}
    imports = [
        "from __future__ import annotations",
        "from collections.abc import AsyncIterator, Iterator",
        "from kvern.client.loop import SyncIterator, run_sync",
        f"from kvern.client.api.{module} import {', '.join(own)}",
        *(f"from kvern.client.sync.{names[name]} import Sync{name}" for name in sorted(used)),
        # Types that the asynchronous module defines itself.
        *(f"from kvern.client.api.{module} import {name}" for name in _own_types(tree, own)),
    ]
    text = [
        _HEAD.format(module=module),
        *([_NOQA] if "A002" in source else []),
        *imports,
        *(ast.unparse(node) for node in body),
    ]
    text.extend(_class(node, names) for node in classes)
    return _laid_out("\n".join(text), f"{module}.py")


def _class_modules() -> dict[str, str]:
    """The API classes and the modules that define them."""
    found: dict[str, str] = {}
    for module in _MODULES:
        tree = ast.parse((_HERE / "api" / f"{module}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and (base.id == "APIClient" or base.id in found) for base in node.bases
            ):
                found[node.name] = module
    return found


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _own_types(tree: ast.Module, apis: list[str]) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name not in apis]


def _class(node: ast.ClassDef, names: dict[str, str]) -> str:
    parents = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in names]
    bases = f"({', '.join(f'Sync{parent}' for parent in parents)})" if parents else ""
    lines = [f"class Sync{node.name}{bases}:", _indented(f'"""{ast.get_docstring(node)}"""')]
    lines.append(_indented(f"def __init__(self, api: {node.name}) -> None:"))
    lines.extend(_indented(f"Sync{parent}.__init__(self, api)", 2) for parent in parents)
    lines.append(_indented("self.__api = api", 2))
    lines.extend(_indented(line, 2) for line in _parts(node))
    for method in node.body:
        if isinstance(method, (ast.AsyncFunctionDef, ast.FunctionDef)) and (
            method.name == "__call__" or not method.name.startswith("_")
        ):
            lines.append(_indented(_method(method)))
    return "\n".join(lines)


def _parts(node: ast.ClassDef) -> list[str]:
    """The attributes that hold further APIs, such as `calls`."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return [
                f"self.{line.target.attr}: Sync{line.value.func.id} = Sync{line.value.func.id}(api.{line.target.attr})"
                for line in method.body
                if isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Attribute)
                and isinstance(line.value, ast.Call)
                and isinstance(line.value.func, ast.Name)
            ]
    return []


def _method(node: ast.AsyncFunctionDef | ast.FunctionDef) -> str:
    assert node.returns is not None
    asynchronous_result = "AsyncIterator" in ast.unparse(node.returns)
    returns = ast.parse(ast.unparse(node.returns).replace("AsyncIterator", "Iterator"), mode="eval").body
    is_overload = any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)
    if is_overload:
        body: list[ast.stmt] = [ast.Expr(ast.Constant(...))]
    else:
        given = ", ".join(
            [argument.arg for argument in node.args.args[1:]]
            + [f"{argument.arg}={argument.arg}" for argument in node.args.kwonlyargs]
        )
        target = "self.__api" if node.name == "__call__" else f"self.__api.{node.name}"
        is_generator = any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in ast.walk(node))
        if is_generator:
            code = f"return SyncIterator({target}({given}))"
        elif asynchronous_result:
            code = f"result = run_sync({target}({given}))\n"
            code += "return SyncIterator(result) if isinstance(result, AsyncIterator) else result"
        else:
            code = f"return run_sync({target}({given}))"
        body = [node.body[0], *ast.parse(code).body]
    function = ast.FunctionDef(
        name=node.name,
        args=node.args,
        body=body,
        decorator_list=node.decorator_list,
        returns=returns,
        type_comment=None,
    )
    if sys.version_info >= (3, 12):
        function.type_params = []
    return ast.unparse(ast.fix_missing_locations(function))


def _indented(text: str, depth: int = 1) -> str:
    return "\n".join("    " * depth + line if line.strip() else line for line in text.split("\n"))


def _laid_out(source: str, name: str) -> str:
    path = str(_HERE / "sync" / name)
    for arguments in (
        ["check", "--quiet", "--fix", "--exit-zero", "--select", "F401,F811,I,TC005", "--stdin-filename", path, "-"],
        ["format", "--quiet", "--stdin-filename", path, "-"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments], input=source, capture_output=True, text=True, check=True
        )
        source = done.stdout
    return source


def main(check: bool) -> int:
    """Writes, or checks, all files; the number of those that were not current."""
    stale = 0
    for module in _MODULES:
        file = _HERE / "sync" / f"{module}.py"
        source = derived(module)
        if not file.exists() or file.read_text(encoding="utf-8") != source:
            stale += 1
            if check:
                sys.stderr.write(f"{file} is not current: python -m kvern.client.derive\n")
            else:
                file.write_text(source, encoding="utf-8")
    return stale if check else 0


if __name__ == "__main__":
    raise SystemExit(main(check="--check" in sys.argv))
