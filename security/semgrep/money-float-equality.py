"""What `money-float-equality` must and must not report."""

import math


def bad(cash, account, expected_equity, position, price):
    # ruleid: money-float-equality
    if cash == position * price:
        return 1
    # ruleid: money-float-equality
    if account.equity != expected_equity:
        return 2
    # ruleid: money-float-equality
    return account.fees_paid == 1.25


def good(cash, account, price, source):
    # ok: money-float-equality
    if cash == 0.0:
        return 1
    # ok: money-float-equality
    if source.price == "close":
        return 2
    # ok: money-float-equality
    if account.equity < price:
        return 3
    # ok: money-float-equality
    if account.cost_name == source.name:
        return 4
    # ok: money-float-equality
    return math.isclose(cash, price, rel_tol=1e-12)
