"""vectorbt as a second engine: our fills replayed into a real Portfolio, and what `from_signals` would have said.

The only file that imports vectorbt, and only inside its functions: it takes seconds to load and is an optional extra.
vectorbt is Apache-2.0 with Commons Clause (NOTICE).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np

from grodtd.domain.bars import US_PER_S, Bars, FloatArray, SideArray
from grodtd.domain.errors import ConfigError, DataError, ExecutionError
from grodtd.domain.market import BPS, Account
from grodtd.domain.run import RunResult
from grodtd.domain.strategy import Bracket, Strategy
from grodtd.execution.fills import tradable_side

Engine = Literal["numba", "rust"]
_TOLERANCE = 1e-9


def _vectorbt(engine: Engine) -> Any:  # Any: vectorbt has no types
    try:
        import vectorbt
    except ImportError as error:
        raise ConfigError("vectorbt is not installed; install it with the `research` extra") from error
    if engine == "rust":
        from vectorbt._engine import is_rust_available

        if not is_rust_available():
            raise ConfigError("vectorbt's Rust engine is not installed; use engine numba")
    return vectorbt


def _index(bars: Bars) -> Any:  # Any: a pandas index
    import pandas as pd

    return pd.DatetimeIndex(bars.time.astype("datetime64[us]"), tz="UTC", name="time")


def _freq(bars: Bars) -> str:
    return f"{bars.interval_s}s"


@cache
def _replay_function() -> Any:  # Any: a numba function
    from numba import njit
    from vectorbt.portfolio.enums import Direction, NoOrder
    from vectorbt.portfolio.nb import order_nb

    both, no_order = Direction.Both, NoOrder

    @njit
    def next_fill(c, first, qty, price, paid):  # type: ignore[no-untyped-def]  # compiled by vectorbt
        k = first[c.i] + c.call_idx
        if k >= first[c.i + 1]:
            return -1, no_order
        order = order_nb(
            size=qty[k], price=price[k], fixed_fees=paid[k], direction=both, allow_partial=False, raise_reject=True
        )
        return c.from_col, order

    return next_fill


def to_portfolio(result: RunResult, *, engine: Engine = "numba") -> Any:  # Any: vectorbt.Portfolio
    """Return a run as a `vectorbt.Portfolio`: every fill replayed in its order, several in a bar if need be.

    vectorbt knows no money that moves without an order: funding and borrow are charged with the next fill of their
    position, so between them its equity is ahead by what is still owed, and equal again once the position is closed.

    Parameters
    ----------
    result : RunResult
        Of an account without leverage that was not ruined.
    engine : {"numba", "rust"}
        What computes the portfolio's statistics; set explicitly and kept as `portfolio.engine`. The replay itself
        always runs in numba, for Rust takes no order function.

    Raises
    ------
    ConfigError
        If vectorbt, or its engine, is not installed, or the run needs leverage or ended in ruin.
    ExecutionError
        If vectorbt rejected or changed a fill: the message names the first.
    """
    if result.account.leverage > 1 or (result.stopped is not None and result.stopped[1] == "ruin"):
        raise ConfigError("a run with leverage or a ruined account cannot be replayed: vectorbt has no debt")
    vbt = _vectorbt(engine)
    import pandas as pd

    fills, bars = result.fills, result.bars
    first = np.searchsorted(fills.bar, np.arange(len(bars) + 1)).astype(np.int64)
    close = pd.Series(np.array(bars.close), index=_index(bars), name=bars.symbol)
    try:
        portfolio = vbt.Portfolio.from_order_func(
            close,
            _replay_function(),
            first,
            fills.side * fills.qty,
            fills.price,
            fills.fee + _carried(result),
            flexible=True,
            init_cash=result.account.initial_capital,
            max_orders=max(len(fills), 1),
            freq=_freq(bars),
            engine=engine,
        )
    except vbt.portfolio.enums.RejectedOrderError as error:
        raise ExecutionError(f"vectorbt rejected a fill of {bars.symbol}: {error}") from error
    records = portfolio.orders.records
    expected = {"idx": fills.bar, "size": fills.qty, "price": fills.price}
    for name, values in expected.items():
        found = records[name].to_numpy()
        if found.size != values.size:
            raise ExecutionError(f"vectorbt made {found.size} orders of {values.size} fills")
        differs = np.abs(found - values) > _TOLERANCE * np.abs(values)
        if differs.any():
            at = int(np.argmax(differs))
            raise ExecutionError(f"vectorbt changed fill {at} of {bars.symbol}: {name} {values[at]} became {found[at]}")
    return portfolio


def _carried(result: RunResult) -> FloatArray:
    """Funding and borrow of each trade, to be paid with its last fill."""
    carried = np.zeros(len(result.fills))
    if len(result.fills):
        last = np.flatnonzero(np.append(np.diff(result.fills.trade) != 0, True))
        carried[last] = (result.trades.funding + result.trades.borrow)[result.fills.trade[last]]
    return carried


def owed(result: RunResult) -> FloatArray:
    """Return what `to_portfolio` has not charged yet at each close: funding and borrow of the open position.

    Returns
    -------
    float64 array, shape (n_bars,)
        vectorbt's equity less ours.
    """
    paid = np.cumsum(result.ledger.funding + result.ledger.borrow)
    charged = np.cumsum(np.bincount(result.fills.bar, weights=_carried(result), minlength=paid.size))
    return np.asarray(paid - charged)


def signals_portfolio(
    bars: Bars, side: SideArray, bracket: FloatArray, account: Account, *, engine: Engine = "numba"
) -> Any:  # Any: vectorbt.Portfolio
    """Return what `Portfolio.from_signals` says about the same decisions: for comparison, never for a result.

    The careful user's call: signals shifted to the next bar, price the open, stops from the fill price. It still

    - never stops a position in the bar it was entered in;
    - lets a stop beat an exit at the same bar's open;
    - fills a stop at its level without slippage, and one gapped through at the open without slippage (`stoplimit`);
    - fills a target gapped through at the better open, and a target that is only touched;
    - charges the taker fee on targets;
    - knows no tick, no smallest order, and floors quantities to the binary lot.

    Parameters
    ----------
    bars, side, bracket
        As `grodtd.execution.fills.fill_orders`; only stop and target of the bracket.
    account : Account
        Sizing `fixed_qty`, or `fraction` without compounding.
    engine : {"numba", "rust"}

    Raises
    ------
    ConfigError
        If the account or the bracket asks for what `from_signals` cannot do.
    """
    sizing, rules, costs = account.sizing, account.rules, account.costs
    if sizing.mode == "fixed_qty":
        size, size_type = sizing.qty, "amount"
    elif sizing.mode == "fraction" and not sizing.compound:
        size, size_type = sizing.fraction * account.initial_capital, "value"
    else:
        raise ConfigError("from_signals: use sizing fixed_qty, or fraction with compound=false")
    others = [name for i, name in enumerate(Bracket._fields) if i > 1 and (bracket[i] > 0).any()]
    if others or rules.session or rules.reentry != "immediate" or account.leverage > 1:
        raise ConfigError(f"from_signals cannot do {', '.join(others) or 'sessions, reentry edge or leverage'}")
    if costs.c_vol or costs.impact_y or costs.earlier:
        raise ConfigError("from_signals: use constant costs, without c_vol, impact_y and earlier")
    vbt = _vectorbt(engine)
    import pandas as pd

    n, shift = len(bars), 1 + rules.latency_bars
    if n <= shift:
        raise DataError(f"from_signals needs more than {shift} bars, found {n}")
    wanted = np.zeros(n, dtype=np.int8)
    wanted[shift:] = tradable_side(side, rules.direction)[:-shift]
    fractions = np.full((2, n), np.nan)
    fractions[:, shift:] = np.where(bracket[:2, :-shift] > 0, bracket[:2, :-shift] / bars.close[:-shift], np.nan)
    index = _index(bars)

    def series(values: Any) -> Any:  # Any: pandas
        return pd.Series(np.array(values), index=index)

    return vbt.Portfolio.from_signals(
        series(bars.close),
        entries=series(wanted > 0),
        exits=series(wanted == 0),
        short_entries=series(wanted < 0),
        short_exits=series(wanted == 0),
        price=series(bars.open),
        open=series(bars.open),
        high=series(bars.high),
        low=series(bars.low),
        size=size,
        size_type=size_type,
        fees=costs.taker_bps * BPS,
        slippage=(costs.half_spread_bps + costs.slippage_bps) * BPS,
        sl_stop=series(fractions[0]),
        tp_stop=series(fractions[1]),
        stop_entry_price="fillprice",
        init_cash=account.initial_capital,
        freq=_freq(bars),
        engine=engine,
    )


def indicator_factory(strategy: Strategy) -> Any:  # Any: a class vectorbt makes
    """Return a strategy as a vectorbt indicator, for its parameter products and plots.

    Inputs are open, high, low, close and volume with bar opens as index; parameters are the strategy's; outputs are
    side, stop, target and the strategy's features. ``run(..., ema_bars=[9, 21], param_product=True)`` works as with any
    other.

    Raises
    ------
    ConfigError
        If vectorbt is not installed.
    """
    vbt = _vectorbt("numba")
    names = list(strategy.roles)
    rows = list(strategy.row._fields)  # type: ignore[attr-defined]  # every NamedTuple class has it
    defaults = strategy.check_params({})._asdict()  # type: ignore[attr-defined]  # likewise

    def apply(open_, high, low, close, volume, *values):  # type: ignore[no-untyped-def]  # called by vectorbt
        time = np.asarray(close.index.as_unit("us").asi8)
        interval_s = int(np.median(np.diff(time)) // US_PER_S)
        columns = [np.asarray(x, dtype=np.float64).reshape(-1) for x in (open_, high, low, close, volume)]
        bars = Bars(time, *columns, timeframe=_timeframe(interval_s))  # type: ignore[misc, arg-type]  # five of them
        decided = strategy.decisions(bars, strategy.check_params(dict(zip(names, values, strict=True))))
        outputs = (decided.side, decided.bracket[0], decided.bracket[1], *decided.features)
        return tuple(np.asarray(o, dtype=np.float64)[:, None] for o in outputs)

    made = vbt.IndicatorFactory(
        class_name=strategy.name,
        short_name=strategy.name,
        input_names=["open", "high", "low", "close", "volume"],
        param_names=names,
        output_names=["side", "stop", "target", *(f"feature_{name}" for name in rows)],
    )
    return made.from_apply_func(apply, keep_pd=True, **defaults)


def _timeframe(interval_s: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if interval_s % size == 0:
            return f"{interval_s // size}{unit}"
    return f"{interval_s}s"
