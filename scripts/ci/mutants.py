"""Print the mutants of Python files as JSON: the faults that cosmic-ray's operators, and a few of our own, make.

    .tools/bin/python scripts/ci/mutants.py grodtd/execution/ledger.py

Run with the environment of `make tools`, which has cosmic-ray; nothing else of the project imports it. One object a
mutant: the file, the function, the line before and after, and the change itself (`at`, `old`, `new`).

The faults: a sum for a difference, a boundary moved by one or turned round, `and` for `or`, a condition negated, a number
off by one, True for False, a loop that never runs, a statement left out, min for max. What a human cannot get wrong in
one keystroke is left out, and so are -1 for 0 and a bare `*` among parameters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators import (
    binary_operator_replacement,
    boolean_replacer,
    break_continue,
    comparison_operator_replacement,
    number_replacer,
    unary_operator_replacement,
    zero_iteration_for_loop,
)
from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import ExprStmt, Keyword, Name, Number

Node = Any  # of parso: it has no types
Position = tuple[tuple[int, int], tuple[int, int]]


class NegatedCondition(boolean_replacer.AddNot):  # type: ignore[misc]  # cosmic-ray has no types
    """A condition negated, where no other operator does so: a comparison is turned round, a `not` is taken away."""

    def mutation_positions(self, node: Node) -> Iterator[Position]:
        """Leave out what is a comparison or begins with `not`."""
        for position in super().mutation_positions(node):
            condition = node.children[1 if isinstance(node, self.NODE_TYPES) else 2]
            if condition.type not in ("comparison", "not_test"):
                yield position


class NumberOffByOne(number_replacer.NumberReplacer):  # type: ignore[misc]  # cosmic-ray has no types
    """A number one more, or one less; zero only one more: what is less is the other side of a boundary moved already."""

    def mutation_positions(self, node: Node) -> Iterator[Position]:
        """Leave out -1 for 0, which also is the same index of the only record."""
        positions = list(super().mutation_positions(node))
        is_zero = isinstance(node, Number) and node.value in ("0", "0.0")
        yield from positions[:1] if is_zero else positions

    def mutate(self, node: Node, index: int) -> Node:
        """Keep the blanks as they are."""
        other = super().mutate(node, index)
        other.value, other.prefix = other.value.strip(), node.prefix
        return other


class BothForEither(binary_operator_replacement.ReplaceBinaryOperator_BitOr_BitAnd):  # type: ignore[misc]  # likewise
    """`&` for `|` between arrays, not in a type."""

    def mutation_positions(self, node: Node) -> Iterator[Position]:
        """Leave out annotations."""
        if not any(_is_annotation(part) for part in _ancestors(node)):
            yield from super().mutation_positions(node)


def _ancestors(node: Node) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.parent


def _is_annotation(node: Node) -> bool:
    # After the arrow of a function; of a parameter; of a name.
    follows_arrow = node.parent is not None and node.parent.type == "funcdef" and node is node.parent.annotation
    return follows_arrow or node.type in ("tfpdef", "annassign")


class LeftOut(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """A statement left out: a field or an element not set, a sum not added to, a call not made."""

    def mutation_positions(self, node: Node) -> Iterator[Position]:
        """Yield statements without which the function still runs: to leave a name unset is no subtle fault."""
        if node.type in ("atom_expr", "power") and node.parent.type == "simple_stmt":
            yield node.start_pos, node.end_pos
        elif isinstance(node, ExprStmt) and node.parent.type == "simple_stmt":
            target, sign = node.children[0], node.children[1]
            if sign.type != "annassign" and (target.type in ("atom_expr", "power") or sign.value != "="):
                yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Put `pass` in its place."""
        del index
        return Keyword("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Show one."""
        return (Example("a[0] = 1", "pass"),)


class OtherEnd(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """The least for the most, the floor for the ceiling, any for all."""

    PAIRS: Final = (("min", "max"), ("minimum", "maximum"), ("floor", "ceil"), ("any", "all"))
    OTHER: Final = {**dict(PAIRS), **{b: a for a, b in PAIRS}}

    def mutation_positions(self, node: Node) -> Iterator[Position]:
        """Yield names that are called."""
        if isinstance(node, Name) and node.value in self.OTHER:
            follower = node.get_next_leaf()
            if follower is not None and follower.value == "(":
                yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """Name the other."""
        del index
        node.value = self.OTHER[node.value]
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Show one."""
        return (Example("max(a, b)", "min(a, b)"),)


_BINARY: Final = "Add_Sub Sub_Add Mul_Div Div_Mul Mod_FloorDiv FloorDiv_Div Pow_Mul BitAnd_BitOr"
_COMPARISON: Final = "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is"
OPERATORS: Final[tuple[type[Operator], ...]] = (
    *(getattr(binary_operator_replacement, f"ReplaceBinaryOperator_{name}") for name in _BINARY.split()),
    *(getattr(comparison_operator_replacement, f"ReplaceComparisonOperator_{name}") for name in _COMPARISON.split()),
    unary_operator_replacement.ReplaceUnaryOperator_USub_UAdd,
    unary_operator_replacement.ReplaceUnaryOperator_Delete_Not,
    boolean_replacer.ReplaceAndWithOr,
    boolean_replacer.ReplaceOrWithAnd,
    boolean_replacer.ReplaceTrueWithFalse,
    boolean_replacer.ReplaceFalseWithTrue,
    break_continue.ReplaceBreakWithContinue,
    break_continue.ReplaceContinueWithBreak,
    zero_iteration_for_loop.ZeroIterationForLoop,
    BothForEither,
    NegatedCondition,
    NumberOffByOne,
    LeftOut,
    OtherEnd,
)


@dataclass(frozen=True)
class Mutant:
    """One change of one place of one file."""

    file: str
    function: str  # or class; "" for what stands outside
    line: int  # where it begins, from 1
    before: str  # that line, without its indentation
    after: str
    at: int  # characters from the start of the file
    old: str
    new: str


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return the mutants of a file in the order of its lines; each change once."""
    found: dict[tuple[int, str, str], Mutant] = {}
    start = 0
    # A definition at a time: cosmic-ray reads the text anew for every mutant.
    for part in parso.parse(source).children:
        text = part.get_code()
        definition = part.children[-1] if part.type in ("decorated", "async_stmt") else part
        function = definition.name.value if definition.type in ("funcdef", "classdef") else ""
        for operator in OPERATORS if text.strip() else ():
            for changed in _changes(text, operator):
                mutant = _mutant(file, function, source, start, text, changed)
                if mutant is not None:
                    found.setdefault((mutant.at, mutant.old, mutant.new), mutant)
        start += len(text)
    return sorted(found.values(), key=lambda m: (m.at, m.new))


def _changes(text: str, operator: type[Operator]) -> Iterator[str]:
    occurrence = 0
    while (changed := mutate_code(text, operator(), occurrence)) is not None:
        yield changed
        occurrence += 1


def _mutant(file: str, function: str, source: str, start: int, text: str, changed: str) -> Mutant | None:
    """Return the change as a splice; None if it is no fault."""
    same = _alike(text, changed)
    tail = _alike(text[same:][::-1], changed[same:][::-1])
    old, new = text[same : len(text) - tail], changed[same : len(changed) - tail]
    at = start + same
    if source[at : at + 2] == "*,":  # the mark of parameters given by name
        return None
    try:
        compile(changed, file, "exec")
    except SyntaxError:  # cosmic-ray knows no context: nobody could commit it
        return None
    mutated = source[:at] + new + source[at + len(old) :]
    line = source.count("\n", 0, at)
    return Mutant(
        file, function, line + 1, source.split("\n")[line].strip(), mutated.split("\n")[line].strip(), at, old, new
    )


def _alike(a: str, b: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def main(files: Iterable[str]) -> int:
    """Print the mutants of the files; return the exit code."""
    found = [asdict(m) for file in files for m in mutants_of(file, Path(file).read_text(encoding="utf-8"))]
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
