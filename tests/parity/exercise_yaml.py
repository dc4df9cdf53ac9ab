"""Writes random values as YAML and reads them with PyYAML; prints what came back different."""

from __future__ import annotations

import json
import random
import sys

import yaml

from kvern.client.documents import dump_yaml

WORDS = [
    "",
    "yes",
    "NO",
    "null",
    "~",
    "1",
    "1.5",
    "1e5",
    "0x1f",
    "0o17",
    "1_000",
    "12:30",
    "2020-01-01",
    "=",
    "<<",
    "-",
    "- a",
    "a: b",
]
WORDS += [
    "a #b",
    "#a",
    " a",
    "a ",
    "[a]",
    "{a}",
    "*a",
    "&a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    '"a"',
    "a\nb",
    "\t",
    "\\",
    "...",
    "---",
]
WORDS += [
    "ünïcode",
    "日本",
    "😀",
    "\x00",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ud7ff",
    ".inf",
    ".nan",
    "y",
    "n",
    "Off",
    "a,b",
    "a/b@c.d-e_f",
]
choose = random.Random(20230101)


def value(depth: int) -> object:
    kind = choose.randrange(7 if depth else 5)
    if kind == 0:
        return choose.choice(WORDS)
    if kind == 1:
        return "".join(
            chr(choose.choice([choose.randrange(128), choose.randrange(0xD800)])) for _ in range(choose.randrange(8))
        )
    if kind == 2:
        return choose.choice([None, True, False, 0, -1, 2**53])
    if kind == 3:
        return choose.choice([0.0, -1.5, 1e300, 1e-7, 123456789.125])
    if kind == 4:
        return choose.choice([[], {}])
    if kind == 5:
        return [value(depth - 1) for _ in range(choose.randrange(4))]
    return {choose.choice(WORDS): value(depth - 1) for _ in range(choose.randrange(4))}


different = []
for _ in range(4000):
    original = {"value": value(3)}
    text = dump_yaml(original)
    try:
        back = yaml.safe_load(text)
    except yaml.YAMLError as error:
        back = str(error)
    if back != original:
        different.append([repr(original), text, repr(back)])
json.dump(different[:5], sys.stdout)
