"""Where a stretch of bars first reaches one of two prices: sixteen bars a step, in vector instructions."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from grodtd.domain.bars import FloatArray
from grodtd.domain.kernel import JIT_DISABLED, kernel

LANES: Final = 16


def _first_lane_plain(low: FloatArray, high: FloatArray, at: int, lower: float, upper: float) -> int:
    for lane in range(LANES):
        if low[at + lane] <= lower or high[at + lane] >= upper:
            return lane
    return LANES


@intrinsic
def _first_lane_vector(context: Any, low: Any, high: Any, at: Any, lower: Any, upper: Any) -> Any:  # Any: numba's types
    """The same, as two loads, two comparisons and a count of zeros; the caller keeps it inside the arrays."""
    vector = ir.VectorType(ir.DoubleType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lows, highs, first, *levels = arguments

        def loaded(kind: Any, array: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.load(builder.bitcast(builder.gep(data, [first]), vector.as_pointer()), align=8)

        def spread(level: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), level, ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

        is_below = builder.fcmp_ordered("<=", loaded(signature.args[0], lows), spread(levels[0]))
        is_above = builder.fcmp_ordered(">=", loaded(signature.args[1], highs), spread(levels[1]))
        bits = builder.bitcast(builder.or_(is_below, is_above), ir.IntType(LANES))
        # One bit more, so that the count is LANES where no lane is set.
        word = builder.or_(builder.zext(bits, ir.IntType(64)), ir.IntType(64)(1 << LANES))
        return builder.cttz(word, cgutils.true_bit)

    if not isinstance(at, types.Integer):
        return None
    return types.int64(low, high, types.int64, types.float64, types.float64), generate


_first_lane: Any = _first_lane_plain if JIT_DISABLED else _first_lane_vector  # Any: numba's intrinsics have no types


@kernel
def first_touch(low: FloatArray, high: FloatArray, first: int, end: int, lower: float, upper: float) -> int:
    """Return the first bar in [first, end) that trades at or beyond `lower` or `upper`; `end` if none does."""
    t, last = first, low.size - LANES
    while t < end and t <= last:
        lane: int = _first_lane(low, high, t, lower, upper)
        if lane < LANES:
            return min(t + lane, end)
        t += LANES
    # The last bars of the data, where a step would reach beyond them.
    while t < end and low[t] > lower and high[t] < upper:
        t += 1
    return min(t, end)
