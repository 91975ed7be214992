"""The benchmark result that is committed is whole, and the page made from it is up to date."""

from __future__ import annotations

import copy
import re

import pytest

from benchmarks import report

ROW_FIELDS = {"name", "unit", "ours", "peer", "peer_name", "ratio", "goal", "met", "why", "spread", "is_disturbed"}


@pytest.fixture
def result() -> report.Row:
    return report.stored()


def test_every_row_has_its_fields_and_an_honest_verdict(result: report.Row) -> None:
    assert {"date", "bars", "machine", "versions", "rows", "checks"} <= set(result)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", result["date"])
    assert len(result["rows"]) > 20
    for row in result["rows"]:
        assert set(row) >= ROW_FIELDS, row["name"]
        for field in ("ours", "peer", "ratio", "spread"):
            assert row[field] is None or row[field] >= 0 or row["unit"] == "ms", row["name"]
        goal = row["goal"]
        if goal is not None:
            assert goal["of"] in ("ours", "ratio")
            assert len({"at_least", "at_most"} & set(goal)) == 1
        assert row["met"] == report.is_met(row), row["name"]
        if row["met"] is None:
            assert row["why"], f"{row['name']} says neither yes nor no, nor why"
    names = [row["name"] for row in result["rows"]]
    assert len(set(names)) == len(names)


def test_the_peers_are_pinned_by_hash() -> None:
    text = (report.ROOT / "benchmarks" / "requirements.lock").read_text()
    assert "://" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 20
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_peers_that_must_agree_do(result: report.Row) -> None:
    assert sum(c["must_equal"] for c in result["checks"]) > 4
    for check in result["checks"]:
        assert check["equal"] == (check["ours"] == check["peer"])
        assert check["equal"] or (not check["must_equal"] and check["note"]), check["what"]


def test_the_page_and_the_plot_are_those_of_the_result(result: report.Row) -> None:
    assert report.PAGE.read_text() == report.page(result), "run: python -m benchmarks.run --render"
    assert report.PLOT.read_text() == report.plot(result), "run: python -m benchmarks.run --render"


@pytest.mark.parametrize(
    ("goal", "ours", "ratio", "met"),
    [
        ({"of": "ratio", "at_least": 30}, 5.0, 30.0, True),
        ({"of": "ratio", "at_least": 30}, 5.0, 29.9, False),
        ({"of": "ours", "at_most": 400}, 401.0, None, False),
        ({"of": "ours", "at_most": 400}, None, None, None),
        (None, 5.0, 30.0, None),
    ],
)
def test_a_goal_is_met_missed_or_not_judged(
    goal: report.Row | None, ours: float | None, ratio: float | None, met: bool | None
) -> None:
    assert report.is_met({"goal": goal, "ours": ours, "ratio": ratio, "is_disturbed": False}) is met


def test_the_clock_judges_nothing_on_a_busy_machine() -> None:
    row = {"goal": {"of": "ours", "at_most": 400}, "ours": 1.0, "ratio": None, "met": None, "is_disturbed": True}
    assert report.is_met(row) is None
    assert report.verdict(row) == "busy"


def test_a_skipped_row_is_shown_with_its_reason(result: report.Row) -> None:
    changed = copy.deepcopy(result)
    skipped = {"ours": None, "peer": None, "ratio": None, "met": None, "why": "no such peer here", "spread": None}
    changed["rows"][0] |= skipped
    assert "no such peer here" in report.page(changed)
    assert "no such peer here" in report.table(changed)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.0123, "0.0123"), (1.234, "1.23"), (56.78, "56.8"), (1234.4, "1,234")],
)
def test_numbers_have_three_figures(value: float | None, text: str) -> None:
    assert report.number(value) == text
