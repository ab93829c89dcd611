"""The examples in the documents: the code blocks in a language, and the value of one in Python."""

import ast
import re
from typing import Any


def snippets(language: str, text: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def value_of(snippet: str) -> Any:
    """Return the value of the last line of a program, as a notebook shows it."""
    program = ast.parse(snippet)
    last = program.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(program, "docs", "exec"), names)  # noqa: S102  # an example from the documents
    return eval(compile(ast.Expression(last.value), "docs", "eval"), names)  # noqa: S307
