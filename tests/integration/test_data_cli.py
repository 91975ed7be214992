"""`grodt data` and `grodt runs` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grodtd.domain.kernel import JIT_DISABLED
from tests.integration.command_line import grodt

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="the command line is the same with and without compiled code")

HEADER = "time,open,high,low,close,volume"


def csv(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join([HEADER, *lines]) + "\n")
    return file


def test_import_check_list_show_resample(tmp_path: Path) -> None:
    lines = [f"2023-01-01 00:{m:02d},10,11,9,10.5,{m}" for m in range(60) if m not in (20, 21)]
    file = csv(tmp_path / "m.csv", lines)
    home = tmp_path / "home"
    series = ("--venue", "own", "--symbol", "x/y")
    first = grodt("data", "import", str(file), *series, home=home)
    assert first.returncode == 0, first.stderr
    assert "own:XY 1m: 58 added, 0 already there" in first.stdout
    assert "0 added, 58 already there" in grodt("data", "import", str(file), *series, home=home).stdout

    checked = grodt("data", "check", *series, home=home)
    assert "2023-01-01 00:20:00 to 2023-01-01 00:21:00: 2 missing" in checked.stdout
    found = json.loads(grodt("data", "check", *series, "--json", home=home).stdout)
    assert found["coverage"] == pytest.approx(58 / 60)

    (listed,) = json.loads(grodt("data", "list", "--json", home=home).stdout)
    assert (listed["symbol"], listed["n_bars"]) == ("XY", 58)
    assert "XY" in grodt("data", "list", home=home).stdout
    assert "6 bars" in grodt("data", "resample", *series, "--to", "10m", home=home).stdout
    shown = json.loads(
        grodt(
            "data", "show", *series, "--from", "2023-01-01T00:05", "--to", "2023-01-01T00:08", "--json", home=home
        ).stdout
    )
    assert [row["volume"] for row in shown["rows"]] == [5.0, 6.0, 7.0]
    assert "58 bars" in grodt("data", "show", *series, home=home).stdout


def test_a_broken_file_exits_3_and_imports_nothing(tmp_path: Path) -> None:
    file = csv(tmp_path / "b.csv", ["2023-01-01 00:00,10,11,9,10.5,1", "2023-01-01 00:01,10,9,11,10.5,1"])
    home = tmp_path / "home"
    refused = grodt("data", "import", str(file), "--venue", "own", "--symbol", "X", home=home)
    assert refused.returncode == 3
    assert "row 2: 2023-01-01 00:01:00" in refused.stderr
    assert json.loads(grodt("data", "list", "--json", home=home).stdout) == []
    assert "nothing in" in grodt("data", "list", home=home).stdout
    assert grodt("data", "check", str(file), home=home).returncode == 3
    assert grodt("data", "check", home=home).returncode == 2
    assert grodt("data", "import", str(file), "--venue", "o", "--symbol", "X", "--map", "x", home=home).returncode == 2


def test_synthetic_bars_say_their_regimes(tmp_path: Path) -> None:
    made = json.loads(grodt("data", "synth", "G2", "--bars", "3000", "--json", home=tmp_path).stdout)
    assert made["bars"] == 3_000
    assert sum(made["regimes"].values()) == pytest.approx(1.0)
    shown = grodt("data", "show", "--venue", "synthetic", "--symbol", "G2", home=tmp_path)
    assert "regime trending" in shown.stdout


def test_runs_are_listed_compared_exported_and_deleted(tmp_path: Path) -> None:
    assert "no runs yet" in grodt("runs", "list", home=tmp_path).stdout
    grodt("data", "synth", "G1", "--bars", "8000", home=tmp_path)
    ids = []
    for bars in ("9", "21"):
        ran = grodt(
            *(
                "backtest",
                "s1_trend",
                "--venue",
                "synthetic",
                "--symbol",
                "G1",
                "--param",
                f"ema_bars={bars}",
                "--json",
            ),
            home=tmp_path,
        )
        ids.append(json.loads(ran.stdout)["run_id"])

    listed = json.loads(grodt("runs", "list", "--sort", "profit_factor", "--json", home=tmp_path).stdout)
    assert {run["run_id"] for run in listed} == set(ids)
    factors = [run["metrics"]["profit_factor"] for run in listed]
    assert factors == sorted(factors, reverse=True)
    assert ids[0] in grodt("runs", "list", home=tmp_path).stdout
    assert grodt("runs", "list", "--sort", "nonsense", home=tmp_path).returncode == 2

    compared = json.loads(grodt("runs", "compare", *ids, "--json", home=tmp_path).stdout)
    assert compared["differences"] == {"params.ema_bars": [9, 21]}
    assert len(compared["metrics"]["total"]) == 2
    assert "params.ema_bars" in grodt("runs", "compare", *ids, home=tmp_path).stdout
    assert grodt("runs", "compare", ids[0], home=tmp_path).returncode == 6

    shown = grodt("runs", "show", ids[0], home=tmp_path)
    assert "result_hash" in shown.stdout
    for file_format in ("csv", "parquet", "json"):
        out = tmp_path / file_format
        written = grodt("runs", "export", ids[0], str(out), "--format", file_format, home=tmp_path)
        assert written.returncode == 0, written.stderr
        names = sorted(f.name for f in (out / ids[0]).iterdir())
        assert names == sorted(
            ["manifest.json", "metrics.json", "scenarios.json", f"trades.{file_format}", f"equity.{file_format}"]
        )
    assert grodt("runs", "export", ids[0], str(out), "--format", "json", home=tmp_path).returncode == 6
    assert grodt("runs", "export", ids[0], str(out), "--format", "xls", home=tmp_path).returncode == 6

    assert json.loads(grodt("runs", "delete", ids[0], "--yes", "--json", home=tmp_path).stdout) == {"deleted": [ids[0]]}
    assert grodt("runs", "show", ids[0], home=tmp_path).returncode == 6
    assert grodt("runs", "delete", ids[1], home=tmp_path).returncode == 1  # nobody said yes
    assert grodt("runs", "migrate", home=tmp_path).stdout.strip() == "schema 0005"
