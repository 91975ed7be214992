"""The page at `/`: where things are."""

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>GRODT</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }}
dt {{ font-family: ui-monospace, monospace; margin-top: .8rem; }}
dd {{ margin: 0; opacity: .75; }}
</style>
</head>
<body>
<h1>GRODT</h1>
<p>{version}, {environment}</p>
<dl>
<dt><a href="health">/health</a></dt><dd>what is well and what is not</dd>
<dt><a href="health/ready">/health/ready</a></dt><dd>whether requests are welcome</dd>
<dt><a href="metrics">/metrics</a></dt><dd>numbers for Prometheus</dd>
<dt><a href="api/v1/runs">/api/v1/runs</a></dt><dd>stored backtests</dd>
<dt><a href="api/v1/studies">/api/v1/studies</a></dt><dd>stored searches</dd>
<dt><a href="api/v1/series">/api/v1/series</a></dt><dd>stored bars</dd>
<dt><a href="openapi.json">/openapi.json</a></dt><dd>the API, for programs</dd>
</dl>
</body>
</html>
"""
