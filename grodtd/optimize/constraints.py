"""Conditions on parameters, written as text such as ``fast < slow``: parsed against a whitelist, never executed."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError

BoolArray = npt.NDArray[np.bool_]
Column = FloatArray | float
_LENGTH_MAX: Final = 200  # so that neither Python's parser nor our recursion can be driven deep

# Any: numpy's operators take and give floats and arrays alike.
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
}
_COMPARISON: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Constraint:
    """A claim about parameters that a combination must meet.

    Attributes
    ----------
    text : str
        As it was written.
    names : frozenset of str
        The parameters it mentions.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: object, names: Collection[str]) -> Constraint:
        """Read a constraint.

        Parameters
        ----------
        text : str
            Comparisons (``< <= > >= == !=``, also chained) of sums, differences, products and quotients of
            parameters and numbers, joined by ``and``, ``or``, ``not`` and parentheses; at most 200 characters.
        names : collection of str
            The parameters it may mention.

        Raises
        ------
        ConfigError
            If it is anything else; nothing in it is ever run.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"a constraint is text such as 'fast < slow', found {text!r:.80}")
        if len(text) > _LENGTH_MAX:
            raise ConfigError(f"a constraint has at most {_LENGTH_MAX} characters, found {len(text)}; write two")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise ConfigError(f"{text!r}: is not a comparison such as 'fast < slow': {error}") from error
        found: set[str] = set()
        if _sort(tree, text, names, found) != "claim":
            raise ConfigError(f"{text!r}: is a number; a constraint compares: write for example '{text} > 0'")
        return cls(text, frozenset(found), tree)

    def holds(self, columns: Mapping[str, Column]) -> BoolArray:
        """Return for each combination whether it meets the constraint; a comparison with x / 0 is never met.

        Parameters
        ----------
        columns : mapping of parameter to float64 array, shape (n,), or float
            Everything the constraint mentions.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(_claim(self._tree, columns), dtype=np.bool_)


def _sort(node: ast.expr, text: str, names: Collection[str], found: set[str]) -> Literal["claim", "number"]:
    """Say what a piece of text is; refuse all that is not listed here."""

    def each(parts: list[ast.expr], wanted: Literal["claim", "number"]) -> None:
        for part in parts:
            if _sort(part, text, names, found) != wanted:
                is_found = "a number" if wanted == "number" else "a comparison"
                raise ConfigError(
                    f"{text!r}: {ast.unparse(part)!r} must be {is_found}; add parentheses or a comparison"
                )

    match node:
        case ast.BoolOp(values=parts):
            each(parts, "claim")
            return "claim"
        case ast.UnaryOp(op=ast.Not(), operand=part):
            each([part], "claim")
            return "claim"
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISON for op in ops):
            each([left, *others], "number")
            return "claim"
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            each([part], "number")
            return "number"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            each([left, right], "number")
            return "number"
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and math.isfinite(value):
            return "number"
        case ast.Name(id=name) if name in names:
            found.add(name)
            return "number"
        case ast.Name(id=name):
            raise ConfigError(f"{text!r}: no parameter {name}; there are {', '.join(names)}")
        case _:
            raise ConfigError(
                f"{text!r}: {ast.unparse(node)!r} is not allowed; a constraint holds parameters, numbers, + - * /,"
                " < <= > >= == !=, and, or, not"
            )


def _number(node: ast.expr, columns: Mapping[str, Column]) -> Column:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=op, operand=part):
            inner = _number(part, columns)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            result: Column = _ARITHMETIC[type(op)](_number(left, columns), _number(right, columns))
            return result
    raise AssertionError(f"{ast.dump(node)} passed the whitelist")


def _claim(node: ast.expr, columns: Mapping[str, Column]) -> BoolArray:
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            holds = _claim(parts[0], columns)
            for part in parts[1:]:
                holds = join(holds, _claim(part, columns))
            return holds
        case ast.UnaryOp(operand=part):
            return np.logical_not(_claim(part, columns))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_number(part, columns) for part in (left, *others)]
            holds = np.asarray(True)
            for compare, before, after in zip(ops, sides, sides[1:], strict=False):
                # Unequal to a quotient by zero is as unmet as any other comparison with it.
                defined = np.isfinite(before) & np.isfinite(after)
                holds = np.logical_and(holds, defined & _COMPARISON[type(compare)](before, after))
            return holds
    raise AssertionError(f"{ast.dump(node)} passed the whitelist")
