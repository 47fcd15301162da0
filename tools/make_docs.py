"""Make the pages of docs/ that follow from the programs and from the schemas.

    python tools/make_docs.py

One page a program, from its docstring and its PHIL scope, and docs/json.md from the JSON
Schemas of the package. They are committed; a test compares them with what this makes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dials_jungfrau_qc.schemas import PROGRAMS, read_file

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PHIL_TYPES = {
    "bool": "True or False",
    "choice": "choice",
    "float": "number",
    "floats": "numbers",
    "int": "whole number",
    "ints": "whole numbers",
    "path": "path",
    "str": "text",
    "strings": "texts",
}


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def pages() -> dict[Path, str]:
    """Every page that is made, by its path."""
    made = {DOCS / "programs" / f"{name}.md": program_page(name) for name in PROGRAMS}
    return made | {DOCS / "json.md": json_page()}


# --- programs ----------------------------------------------------------------------


def program_page(name: str) -> str:
    """The page of a program, from its docstring and its PHIL scope."""
    stem = name.removeprefix("dials.")
    module = importlib.import_module(f"dials_jungfrau_qc.command_line.{stem}")
    return "\n".join(
        [
            f"# {name}",
            "",
            f"<!-- Made by `make docs` from dials_jungfrau_qc/command_line/{stem}.py -->",
            "",
            f"`{module.USAGE}`",
            "",
            markdown(module.__doc__),
            "",
            "## Parameters",
            "",
            f"`{name} -c -e 2` prints them as PHIL, and `{name} -h` the options that all "
            "programs of DIALS have. A parameter can be shortened as long as it is clear "
            "which one is meant. Those in italics are for experts.",
            "",
            *parameter_tables(module.phil_scope),
            "",
            "## What it writes",
            "",
            f"See [files and their columns](../formats.md#{stem}) and "
            f"[the keys of its JSON](../json.md#{stem}).",
            "",
        ]
    )


def markdown(docstring: str) -> str:
    """The text of a docstring, with what is indented in it as code."""
    lines, blocks = docstring.strip("\n").splitlines(), []
    code: list[str] = []
    kind = ""

    def end_code() -> None:
        while code and not code[-1].strip():
            code.pop()
        if code:
            blocks.extend([f"```{kind}", *(line[2:] for line in code), "```", ""])
        code.clear()

    for line in lines:
        if line.startswith("  ") or (code and not line.strip()):
            code.append(line)
            continue
        end_code()
        kind = kind if not line.strip() else ""
        if line.rstrip() == "Examples::":
            kind = "sh"
            blocks.append("## Examples")
        else:
            blocks.append(line)
    end_code()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks)).strip()


def parameter_tables(scope: Any) -> Iterator[str]:
    """A table of the parameters that stand alone, and one for each scope of others."""
    alone = [item for item in scope.objects if item.is_definition]
    if alone:
        yield from parameter_table(alone)
    for item in scope.objects:
        if item.is_definition:
            continue
        yield from ["", f"### {item.name}", ""]
        if item.help:
            yield from [one_line(item.help), ""]
        yield from parameter_table(definitions(item))


def definitions(scope: Any) -> list[Any]:
    """All parameters below a scope, in order."""
    found = []
    for item in scope.objects:
        found += [item] if item.is_definition else definitions(item)
    return found


def parameter_table(parameters: list[Any]) -> Iterator[str]:
    yield "| parameter | type | default | |"
    yield "|---|---|---|---|"
    for parameter in parameters:
        mark = "*" if expert_level(parameter) else ""
        cells = [
            f"{mark}`{parameter.full_path()}`{mark}",
            type_words(parameter),
            default_words(parameter),
            escaped(one_line(parameter.help or "")),
        ]
        yield f"| {' | '.join(cells)} |"


def expert_level(parameter: Any) -> int:
    """The level of a parameter or of a scope that it is in."""
    level = parameter.expert_level or 0
    parent = parameter.primary_parent_scope
    while parent is not None:
        level = max(level, parent.expert_level or 0)
        parent = parent.primary_parent_scope
    return level


def type_words(parameter: Any) -> str:
    """The type, with the limits that PHIL enforces."""
    kind = parameter.type
    words = PHIL_TYPES[kind.phil_type]
    if kind.phil_type == "choice":
        choices = [word.value.lstrip("*") for word in parameter.words]
        return escaped(" ".join(f"`{choice}`" for choice in choices))
    size = getattr(kind, "size_min", None)
    if size is not None and size == getattr(kind, "size_max", None):
        words = f"{size} {words}"
    low, high = (getattr(kind, f"value_{end}", None) for end in ("min", "max"))
    limits = [f"from {low:g}"] if low is not None else []
    limits += [f"to {high:.9g}"] if high is not None else []
    return " ".join([words, *limits])


def default_words(parameter: Any) -> str:
    """The default, as it would be typed."""
    if parameter.type.phil_type == "choice":
        chosen = [w.value[1:] for w in parameter.words if w.value.startswith("*")]
        return f"`{chosen[0] if chosen else 'None'}`"
    text = " ".join(word.value for word in parameter.words)
    return f"`{escaped(text)}`" if text != "None" else "none"


def one_line(text: str) -> str:
    return " ".join(text.split())


def escaped(text: str) -> str:
    """Text that stands in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


# --- JSON --------------------------------------------------------------------------


def json_page() -> str:
    """Every key of the JSON of every program, from the schemas."""
    lines = [
        "# The JSON of the programs",
        "",
        "<!-- Made by `make docs` from dials_jungfrau_qc/schemas/*.json -->",
        "",
        "Every program writes one JSON file. What it holds is fixed by "
        "[JSON Schemas](../dials_jungfrau_qc/schemas/) (2020-12) that are installed with the "
        "package; [how to check against them](pipelines.md#read-the-json). Numbers that are "
        "not finite are null. Keys may be added; when one is renamed or removed, `schema` "
        "rises. `a[].b` is the key `b` of every item of the list `a`.",
        "",
        "## In every file",
        "",
        *key_table(read_file("envelope")),
    ]
    for program in PROGRAMS:
        schema = read_file(program.removeprefix("dials."))
        lines += ["", f"## {program.removeprefix('dials.')}", ""]
        lines += [f"{schema['description']} Besides the keys above:", ""]
        lines += key_table(schema)
    return "\n".join([*lines, ""])


def key_table(schema: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | |"
    yield "|---|---|---|"
    for path, kind, description in keys(schema, schema, ""):
        yield f"| `{path}` | {kind} | {escaped(description)} |"


def keys(
    schema: dict[str, Any], node: dict[str, Any], prefix: str
) -> Iterator[tuple[str, str, str]]:
    """Path, type and description of each key of an object and of what it holds."""
    for name, item in node.get("properties", {}).items():
        if name == "program" and prefix == "" and "const" in item:
            continue
        path = prefix + name
        whole = {**resolved(schema, item), **item}
        yield path, kind_words(schema, whole), whole.get("description", "")
        yield from keys(schema, whole, f"{path}.")
        inner, brackets = whole, ""
        while "items" in inner:
            inner, brackets = resolved(schema, inner["items"]), f"{brackets}[]"
        if brackets:
            yield from keys(schema, inner, f"{path}{brackets}.")


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema, or what it refers to."""
    name = node.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][name] if name in schema.get("$defs", {}) else node


def kind_words(schema: dict[str, Any], node: dict[str, Any]) -> str:
    """The type of a value, in words."""
    if "const" in node:
        return f"{node['const']}"
    if "enum" in node:
        return "one of " + ", ".join(f"`{value}`" for value in node["enum"])
    kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
    words = {
        "integer": "whole number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    parts = [words.get(kind, kind) for kind in kinds]
    if "items" in node:
        of = kind_words(schema, resolved(schema, node["items"]))
        parts[parts.index("array")] = f"list of: {of}"
    return " or ".join(parts)


if __name__ == "__main__":
    main()
