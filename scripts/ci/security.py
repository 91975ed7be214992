"""The security gates: several scanners, one list of findings, one decision.

``python scripts/ci/security.py run`` runs every gate, ``--only NAME`` some of them, ``list`` names them. Findings of
severity critical or high block unless security/waivers.yaml waives them. A gate that cannot run here is SKIPPED with
its reason, and is never counted as passed. Reports land in build/security.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Any below: what scanners print is JSON of any shape.

SEVERITIES: Final = ("critical", "high", "medium", "low")
BLOCKING: Final = frozenset({"critical", "high"})
# No gate needs longer than this; one that does hangs.
TIMEOUT_S: Final = 900
# Signs, in what a program says, of a service it could not reach.
_UNREACHABLE: Final = re.compile(
    r"ConnectionError|Could not connect|Max retries|Failed to resolve|no such host|connection refused|i/o timeout"
    r"|TLS handshake|failed to download vulnerability DB|Service Unavailable",
    re.IGNORECASE,
)


class SkipError(Exception):
    """This gate cannot run here; the text says why."""


class GateError(Exception):
    """The gate ran and its answer cannot be trusted, or its settings are wrong: it blocks."""


@dataclass(frozen=True)
class Finding:
    """One thing one tool reports; `path` is relative to the root, `line` is 0 where there is none."""

    tool: str
    id: str
    severity: str
    path: str
    line: int
    message: str


@dataclass(frozen=True)
class Waiver:
    """Findings somebody has judged and accepts, for a time; `path` may hold wildcards, `findings` is how many."""

    tool: str
    id: str
    path: str
    findings: int
    reason: str
    owner: str
    expires: date

    def covers(self, finding: Finding) -> bool:
        """Whether this waiver names `finding`; its date is not looked at."""
        return (self.tool, self.id) == (finding.tool, finding.id) and fnmatch(finding.path, self.path)


@dataclass(frozen=True)
class Job:
    """What every gate is given."""

    root: Path
    tools: Path
    output: Path
    python: Path
    images: tuple[str, ...]

    def file(self, name: str) -> Path:
        """Return where a tool's own output goes; its folder exists, an older file does not."""
        path = self.output / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the tools' folder in the root and return what it said.

        Raises
        ------
        SkipError
            If the program is not there.
        GateError
            If it does not end in time.
        """
        found = self.tools / program
        if not found.is_file():
            raise SkipError(f"{program} is not in {self.tools}; run `make tools`")
        try:
            return subprocess.run(
                [found, *arguments],
                cwd=self.root,
                env=os.environ | {"SEMGREP_SETTINGS_FILE": str(self.output / "raw" / "semgrep.yaml"), "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GateError(f"{program} did not end within {TIMEOUT_S} s") from error


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr.strip() or done.stdout.strip()).splitlines() if line.strip()]
    return f"exit code {done.returncode}: {lines[-1].strip()[-300:]}" if lines else f"exit code {done.returncode}"


def _json(tool: str, text: str, done: subprocess.CompletedProcess[str]) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise GateError(f"{tool} gave no report; {_last_words(done)}") from error


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _git(job: Job, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=job.root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SkipError(f"{job.root} is not a git checkout; {_last_words(done)}")
    return done.stdout


def _files(job: Job, *patterns: str) -> list[str]:
    """Return what git knows or would take in, not what it ignores: data, environments, secrets."""
    listed = _git(job, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return sorted({name for name in listed.split("\0") if name and (job.root / name).is_file()})


def _program_files(job: Job) -> list[str]:
    found = _files(job, "grodtd/*.py", "scripts/*.py", "benchmarks/*.py")
    if not found:
        raise GateError(f"no Python file under {job.root}; is this the root of the repository?")
    return found


# --- the gates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pin:
    """One line of a lock that applies to this interpreter."""

    lock: str
    line: int
    name: str
    version: str


def _pins(job: Job, lock: str) -> list[Pin]:
    pins = []
    for number, line in enumerate((job.root / lock).read_text(encoding="utf-8").splitlines(), 1):
        if re.match(r"[A-Za-z0-9]", line):
            pin = Requirement(line.rstrip(" \\"))
            if pin.marker is None or pin.marker.evaluate():
                pins.append(Pin(lock, number, canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")))
    return pins


def advisories(job: Job) -> Iterator[Finding]:
    """Look every pin of every lock up in an advisory service (GRODT_ADVISORY_URL speaks the OSV protocol)."""
    url = os.environ.get("GRODT_ADVISORY_URL")
    service = ["--vulnerability-service", "osv", *(["--osv-url", url] if url else [])]
    for lock in _files(job, "*.lock"):
        done = job.run(
            "pip-audit",
            *("--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"),
            *service,
            *("--requirement", lock),
        )
        if not done.stdout.strip():
            if _UNREACHABLE.search(done.stderr):
                raise SkipError(f"the advisory service cannot be reached; {_last_words(done)}")
            raise GateError(f"pip-audit gave no report on {lock}; {_last_words(done)}")
        audited = {str(canonicalize_name(d["name"])): d for d in _json("pip-audit", done.stdout, done)["dependencies"]}
        pins = _pins(job, lock)
        # pip-audit has been seen to end with 0 and nothing looked up.
        if unseen := {pin.name for pin in pins} - {name for name, d in audited.items() if "skip_reason" not in d}:
            raise GateError(
                f"{len(unseen)} of {len(pins)} pins of {lock} were not looked up: {', '.join(sorted(unseen))}"
            )
        for pin in pins:
            for found in audited[pin.name]["vulns"]:
                mend = ", ".join(found["fix_versions"]) or "no release yet"
                # The protocol gives no common severity: whatever is known of a pin stops it.
                yield Finding(
                    "pip-audit",
                    found["id"],
                    "high",
                    lock,
                    pin.line,
                    f"{pin.name} {pin.version}: {found['description'][:200]} (mended in {mend})",
                )


def bandit(job: Job) -> Iterator[Finding]:
    """Look for dangerous calls in our own programs; comments that silence it count for nothing."""
    report, files = job.file("bandit.json"), _program_files(job)
    done = job.run("bandit", "--quiet", "--ignore-nosec", "--format", "json", "--output", report, *files)
    content = _json("bandit", _read(report), done)
    if content["errors"] or len(content["metrics"]) - 1 != len(files):
        raise GateError(f"bandit read {len(content['metrics']) - 1} of {len(files)} files; {content['errors']}")
    for found in content["results"]:
        severity = found["issue_severity"].lower()
        if (found["issue_severity"], found["issue_confidence"]) == ("HIGH", "HIGH"):
            severity = "critical"
        path = found["filename"].removeprefix("./")
        yield Finding("bandit", found["test_id"], severity, path, found["line_number"], found["issue_text"])


def semgrep(job: Job) -> Iterator[Finding]:
    """Hold our own programs against our own rules, security/semgrep; nothing is fetched or sent."""
    report, files = job.file("semgrep.json"), _program_files(job)
    done = job.run(
        "semgrep",
        *("scan", "--metrics=off", "--disable-version-check", "--disable-nosem", "--no-git-ignore", "--quiet"),
        *("--config", "security/semgrep", "--json", "--output", report),
        *files,
    )
    content = _json("semgrep", _read(report), done)
    scanned = len(content["paths"]["scanned"])
    if content["errors"] or scanned != len(files):
        raise GateError(
            f"semgrep read {scanned} of {len(files)} files; {[e.get('message') for e in content['errors']]}"
        )
    names = {"ERROR": "high", "WARNING": "medium", "INFO": "low"}
    for found in content["results"]:
        severity = found["extra"]["severity"]
        yield Finding(
            "semgrep",
            found["check_id"].rpartition(".")[2],
            names.get(severity, severity.lower()),
            found["path"],
            found["start"]["line"],
            found["extra"]["message"],
        )


def gitleaks(job: Job) -> Iterator[Finding]:
    """Look for secrets in everything that was ever committed."""
    if _git(job, "rev-parse", "--is-shallow-repository").strip() == "true":
        raise SkipError("this is a shallow clone, which holds no history; fetch all of it (fetch-depth: 0)")
    report = job.file("gitleaks.json")
    done = job.run(
        "gitleaks",
        *("git", "--no-banner", "--redact", "--ignore-gitleaks-allow", "--log-opts", "--all"),
        *("--report-format", "json", "--report-path", report, "."),
    )
    if done.returncode not in (0, 1):
        raise GateError(f"gitleaks failed; {_last_words(done)}")
    for found in _json("gitleaks", _read(report), done):
        message = (
            f"{found['Description']} In commit {found['Commit'][:12]}; removing the line does not remove the secret."
        )
        yield Finding("gitleaks", found["RuleID"], "critical", found["File"], found["StartLine"], message)


def _trivy(job: Job, name: str, *arguments: str | Path) -> Any:
    report = job.file(f"{name}.json")
    done = job.run(
        "trivy",
        *arguments[:-1],
        *("--format", "json", "--output", report, "--cache-dir", job.output / "raw" / "trivy-cache"),
        *("--offline-scan", "--skip-check-update", "--skip-version-check", "--disable-telemetry", "--quiet"),
        arguments[-1],
    )
    if done.returncode != 0:
        kind = SkipError if _UNREACHABLE.search(done.stderr) else GateError
        raise kind(f"trivy gave no report; {_last_words(done)}")
    return _json("trivy", _read(report), done).get("Results") or []


def _trivy_findings(tool: str, results: Any) -> Iterator[Finding]:
    for result in results:
        path = result["Target"]
        for found in result.get("Misconfigurations") or ():
            cause, severity = found.get("CauseMetadata", {}), found["Severity"].lower()
            yield Finding(tool, found["ID"], severity, path, cause.get("StartLine") or 0, found["Title"])
        for found in result.get("Secrets") or ():
            yield Finding(tool, found["RuleID"], found["Severity"].lower(), path, found["StartLine"], found["Title"])
        for found in result.get("Vulnerabilities") or ():
            known = {"UNKNOWN": "high"}.get(found["Severity"], found["Severity"].lower())
            message = f"{found['PkgName']} {found['InstalledVersion']}: {found.get('Title', 'no title')}"
            yield Finding(tool, found["VulnerabilityID"], known, path, 0, message)


def trivy(job: Job) -> Iterator[Finding]:
    """Look for secrets in every file git knows or would take in, and judge the Dockerfiles among them."""
    # A copy: what git ignores (bars, environments, real secrets) is neither ours to publish nor quick to read.
    copy = job.output / "raw" / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    try:
        for name in _files(job):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # trivy has no flag against the comments that silence it; of the same length, so that lines stay.
            target.write_bytes((job.root / name).read_bytes().replace(b"trivy:ignore", b"trivy-ignore"))
        results = _trivy(job, "trivy", "fs", "--scanners", "misconfig,secret", copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if not any(result.get("Class") == "config" for result in results):
        raise GateError("trivy judged no Dockerfile at all; its built-in checks did not load")
    yield from _trivy_findings("trivy", results)


def image(job: Job) -> Iterator[Finding]:
    """Look for secrets and bad settings in the images that were built."""
    scanners = ("--scanners", "secret", "--image-config-scanners", "misconfig,secret")
    for name in _images(job):
        results = _trivy(job, f"trivy-{_as_file(name)}", "image", "--image-src", "docker", *scanners, name)
        yield from _trivy_findings("trivy-image", results)


def image_vulnerabilities(job: Job) -> Iterator[Finding]:
    """Look the packages of the images up in trivy's vulnerability database."""
    scanners = ("--image-src", "docker", "--scanners", "vuln")
    for name in _images(job):
        results = _trivy(job, f"trivy-vulnerabilities-{_as_file(name)}", "image", *scanners, name)
        yield from _trivy_findings("trivy-image", results)


def _images(job: Job) -> tuple[str, ...]:
    if not job.images:
        raise SkipError("no image was given; build one and pass --image NAME")
    return job.images


def _as_file(image_name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", image_name)


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise GateError(f"{file}: cannot be read: {error}") from error


def licences(job: Job) -> Iterator[Finding]:
    """Hold the licence each locked package declares against security/licences.yaml."""
    rules = _yaml(job.root / "security" / "licences.yaml")
    allowed, exceptions = set(rules["allowed"]), {e["package"]: e for e in rules["exceptions"]}
    done = job.run("pip-licenses", "--python", job.python, "--from", "mixed", "--with-system", "--format", "json")
    installed = _json("pip-licenses", done.stdout, done)
    declared = {(str(canonicalize_name(p["Name"])), p["Version"]): p["License"] for p in installed}
    unused, unknown = set(exceptions), set[str]()
    for lock in _files(job, ":(glob)requirements*.lock"):
        for pin in _pins(job, lock):
            licence, exception = declared.get((pin.name, pin.version)), exceptions.get(pin.name)
            if licence is None:
                unknown.add(f"{pin.name} {pin.version}")
            elif exception and lock in exception["locks"] and licence == exception["declares"]:
                unused.discard(pin.name)
            # Every licence of an expression must be allowed, also of an OR: stricter than needed, and plain.
            elif not {part.strip() for part in re.split(r"\bAND\b|\bOR\b|[();]", licence) if part.strip()} <= allowed:
                message = f"{pin.name} {pin.version} declares {licence!r}: not allowed, and no exception for {lock}"
                yield Finding("licences", "licence-forbidden", "high", lock, pin.line, message)
    if unknown:
        raise SkipError(
            f"{job.python} lacks {len(unknown)} of the locked packages, whose licences are not known; install "
            f"requirements-dev.lock or name another by --python: {', '.join(sorted(unknown))}"
        )
    for name in sorted(unused):
        message = f"no lock needs the exception for {name}; remove it"
        yield Finding("licences", "exception-unused", "high", "security/licences.yaml", 0, message)


def sbom(job: Job) -> Iterator[Finding]:
    """Write what the package consists of, as CycloneDX."""
    target = job.output / "grodtd.cdx.json"
    done = job.run(
        "cyclonedx-py",
        *("requirements", "--pyproject", "pyproject.toml", "--output-reproducible"),
        *("--output-file", target, "requirements.lock"),
    )
    parts = {part["name"] for part in _json("cyclonedx-py", _read(target), done)["components"]}
    if missing := {pin.name for pin in _pins(job, "requirements.lock")} - {canonicalize_name(part) for part in parts}:
        raise GateError(f"the bill of materials lacks {', '.join(sorted(missing))}")
    yield from ()


def image_sbom(job: Job) -> Iterator[Finding]:
    """Write what each image consists of, as CycloneDX."""
    for name in _images(job):
        target = job.output / f"{_as_file(name)}.cdx.json"
        done = job.run("syft", "scan", f"docker:{name}", "--quiet", "--output", f"cyclonedx-json={target}")
        if done.returncode != 0 or not _json("syft", _read(target), done).get("components"):
            raise GateError(f"syft named no part of {name}; {_last_words(done)}")
    yield from ()


# Gate -> the tool its findings are of, and what runs it.
GATES: Final[dict[str, tuple[str, Callable[[Job], Iterator[Finding]]]]] = {
    "advisories": ("pip-audit", advisories),
    "bandit": ("bandit", bandit),
    "semgrep": ("semgrep", semgrep),
    "gitleaks": ("gitleaks", gitleaks),
    "trivy": ("trivy", trivy),
    "image": ("trivy-image", image),
    "image-vulnerabilities": ("trivy-image", image_vulnerabilities),
    "licences": ("licences", licences),
    "sbom": ("cyclonedx-py", sbom),
    "image-sbom": ("syft", image_sbom),
}

# --- waivers --------------------------------------------------------------------------------------------------------

WAIVERS: Final = "security/waivers.yaml"
# Files by which a scanner can be told to look away without a reason, an owner or a date.
_SILENCERS: Final = (
    ".bandit",
    ".gitleaksignore",
    ".trivyignore",
    ".trivyignore.yaml",
    "trivy.yaml",
    "trivy-secret.yaml",
)


def _silencers(job: Job) -> Iterator[str]:
    """Return the files that tell a scanner to look away."""
    yield from _files(job, *_SILENCERS)
    if rules := _read(job.root / ".gitleaks.toml"):
        try:
            found = tomllib.loads(rules)
        except tomllib.TOMLDecodeError as error:
            raise GateError(f".gitleaks.toml: cannot be read: {error}") from error
        # Anything more can allow a leak: a list of exceptions, a rule left out, one of its own under the same name.
        if found.keys() - {"title"} != {"extend"} or found["extend"] != {"useDefault": True}:
            yield ".gitleaks.toml"


def _says_something(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def read_waivers(root: Path) -> list[Waiver]:
    """Return the waivers of security/waivers.yaml.

    Raises
    ------
    GateError
        If an entry lacks a field, has one too many, or one that says nothing.
    """
    content, waivers, wanted = _yaml(root / WAIVERS), [], set(Waiver.__dataclass_fields__)
    if not isinstance(content, dict) or not isinstance(content.get("waivers"), list):
        raise GateError(f"{WAIVERS} needs a list named waivers; write `waivers: []` for none")
    for number, entry in enumerate(content["waivers"], 1):
        if not isinstance(entry, dict) or set(entry) != wanted:
            raise GateError(f"{WAIVERS}: entry {number} needs exactly {sorted(wanted)}, found {entry}")
        waiver = Waiver(**entry)
        texts = [entry[name] for name in sorted(wanted - {"findings", "expires"})]
        if type(waiver.expires) is not date or type(waiver.findings) is not int or not all(map(_says_something, texts)):
            raise GateError(f"{WAIVERS}: entry {number} needs words, findings: NUMBER, expires: YYYY-MM-DD")
        waivers.append(waiver)
    return waivers


def judge_waivers(
    waivers: Sequence[Waiver], findings: Sequence[Finding], *, judged_tools: frozenset[str], today: date
) -> list[Finding]:
    """Return what is wrong with the waivers themselves.

    Parameters
    ----------
    waivers, findings
        All of them.
    judged_tools
        Tools all of whose gates ran; of others it is not known what they would have found.
    today
        A waiver counts up to and including its day.
    """
    wrong = []
    for waiver in waivers:
        what = f"{waiver.tool} {waiver.id} in {waiver.path}"
        if waiver.expires < today:
            message = f"the waiver of {what} expired on {waiver.expires}; {waiver.owner} must mend it or judge it anew"
            wrong.append(Finding("waivers", "waiver-expired", "high", WAIVERS, 0, message))
        if waiver.tool not in {tool for tool, _ in GATES.values()}:
            wrong.append(
                Finding("waivers", "waiver-unknown-tool", "high", WAIVERS, 0, f"no gate reports as {waiver.tool}")
            )
        elif waiver.tool in judged_tools:
            covered = sum(waiver.covers(finding) for finding in findings)
            if covered == 0:
                message = f"the waiver of {what} matches nothing; remove it"
                wrong.append(Finding("waivers", "waiver-matches-nothing", "high", WAIVERS, 0, message))
            elif covered != waiver.findings:
                message = f"the waiver of {what} was given for {waiver.findings} findings, there are {covered}; judge them anew"
                wrong.append(Finding("waivers", "waiver-miscounts", "high", WAIVERS, 0, message))
    return wrong


# --- running and reporting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """What became of one gate; `reason` says why it was skipped or failed."""

    name: str
    tool: str
    status: Literal["passed", "blocked", "skipped", "failed"]
    findings: int
    seconds: float
    reason: str


def run_gate(name: str, job: Job) -> tuple[list[Finding], Gate]:
    """Run one gate; a fault of its own is its status, never an exception."""
    tool, findings_of = GATES[name]
    began, findings = time.monotonic(), list[Finding]()
    status: Literal["passed", "skipped", "failed"] = "passed"
    reason = ""
    try:
        for finding in findings_of(job):
            findings.append(finding)  # one by one: what was found before it stopped counts
    except SkipError as error:
        status, reason = "skipped", str(error)
    except GateError as error:
        status, reason = "failed", str(error)
    except (KeyError, TypeError, AttributeError, OSError) as error:
        status, reason = "failed", f"{tool} or a settings file has a shape this program does not know: {error!r}"
    return findings, Gate(name, tool, status, len(findings), round(time.monotonic() - began, 1), reason)


def sarif(tool: str, findings: Sequence[Finding], waived: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings of one tool as SARIF 2.1.0; waived ones are marked as suppressed."""
    levels = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
    scores = {"critical": "9.5", "high": "8.0", "medium": "5.0", "low": "2.0"}
    rules = {
        finding.id: {
            "id": finding.id,
            "properties": {"security-severity": scores[finding.severity], "tags": ["security"]},
        }
        for finding in findings
    }
    results = []
    for finding in findings:
        region = {"startLine": max(finding.line, 1)}  # where a tool names no line, the first
        place = {"physicalLocation": {"artifactLocation": {"uri": finding.path}, "region": region}}
        results.append(
            {
                "ruleId": finding.id,
                "level": levels[finding.severity],
                "message": {"text": finding.message},
                "locations": [place],
                "suppressions": [{"kind": "external", "status": "accepted"}] if finding in waived else [],
            }
        )
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": tool, "rules": list(rules.values())}}, "results": results}],
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells]]


@dataclass(frozen=True)
class Verdict:
    """Everything one run found, and what follows from it."""

    gates: list[Gate]
    findings: list[Finding]
    waived: list[Finding]
    blocking: list[Finding]
    skipped: list[str]
    stops: bool


def judge(
    job: Job, names: Sequence[str], waivers: Sequence[Waiver], *, today: date, required: Sequence[str]
) -> Verdict:
    """Run the named gates and hold what they find against the waivers.

    Returns
    -------
    Verdict
        It stops for a blocking finding, for a gate that failed, and for one of `required` that was skipped.
    """
    findings, gates = list[Finding](), list[Gate]()
    for name in names:
        found, gate = run_gate(name, job)
        findings += found
        gates.append(gate)
    # Of a tool one of whose gates did not run to its end it is not known what it would have found.
    ran = {gate.name for gate in gates if gate.status == "passed"}
    unsure = {tool for name, (tool, _) in GATES.items() if name not in ran}
    known = frozenset(tool for tool, _ in GATES.values()) - unsure
    wrong = judge_waivers(waivers, findings, judged_tools=known, today=today)
    for file in _silencers(job):
        message = f"{file} silences a scanner; waive findings in {WAIVERS} instead"
        wrong.append(Finding("waivers", "waiver-elsewhere", "high", file, 0, message))
    gates.append(Gate("waivers", "waivers", "passed", len(wrong), 0.0, ""))
    findings += wrong

    valid = [waiver for waiver in waivers if waiver.expires >= today]
    waived = [finding for finding in findings if any(waiver.covers(finding) for waiver in valid)]
    blocking = [finding for finding in findings if finding.severity in BLOCKING and finding not in waived]
    blocked = {finding.tool for finding in blocking}
    gates = [replace(g, status="blocked") if g.status == "passed" and g.tool in blocked else g for g in gates]
    skipped = [gate.name for gate in gates if gate.status == "skipped"]
    missing = set(skipped).intersection(required)
    stops = bool(blocking) or any(gate.status == "failed" for gate in gates) or bool(missing)
    return Verdict(gates, findings, waived, blocking, skipped, stops)


def summary(verdict: Verdict, waivers: Sequence[Waiver], history: Sequence[Any]) -> str:
    """Return the page people read."""
    lines = ["# Security gates", ""]
    lines += _table(
        ["gate", "status", "findings", "seconds", "reason"],
        [(g.name, g.status.upper(), g.findings, g.seconds, g.reason) for g in verdict.gates],
    )
    lines += ["", "## What blocks", ""]
    if verdict.blocking:
        rows = [
            (f.severity, f.tool, f.id, f"{f.path}:{f.line}" if f.line else f.path, f.message) for f in verdict.blocking
        ]
        lines += _table(["severity", "tool", "id", "where", "message"], rows)
    else:
        lines.append("No finding blocks.")
    lines += ["", "## Waived", ""]
    lines += _table(
        ["tool", "id", "path", "findings", "until", "owner", "reason"],
        [(w.tool, w.id, w.path, w.findings, w.expires, w.owner, w.reason) for w in waivers],
    )
    lines += ["", "## History (last 20 full runs; waived findings are not counted)", ""]
    lines += _table(
        ["date", "commit", *SEVERITIES, "waived", "skipped gates"],
        [
            (r["date"], r["commit"][:12], *(r["counts"][s] for s in SEVERITIES), r["waived"], ", ".join(r["skipped"]))
            for r in history
        ],
    )
    lines += ["", "## Skipped: not known, not passed", ""]
    lines += [f"- {g.name}: {g.reason}" for g in verdict.gates if g.status == "skipped"] or ["Nothing."]
    return "\n".join(lines) + "\n"


def write_reports(job: Job, verdict: Verdict, waivers: Sequence[Waiver], history_file: Path) -> None:
    """Write findings.json, summary.md, one SARIF file a tool, and a line of history after a run of all gates."""
    counts = Counter(finding.severity for finding in verdict.findings if finding not in verdict.waived)
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git(job, "rev-parse", "HEAD").strip(),
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "waived": len(verdict.waived),
        "skipped": verdict.skipped,
    }
    # A run of some gates would look like an improvement.
    if {gate.name for gate in verdict.gates} > set(GATES):
        history_file.parent.mkdir(parents=True, exist_ok=True)
        with history_file.open("a", encoding="utf-8") as history:
            history.write(json.dumps(record) + "\n")
    past = [json.loads(line) for line in _read(history_file).splitlines()][-20:]
    report = record | {
        "stops": verdict.stops,
        "gates": [asdict(gate) for gate in verdict.gates],
        "findings": [asdict(finding) | {"waived": finding in verdict.waived} for finding in verdict.findings],
    }
    (job.output / "findings.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (job.output / "summary.md").write_text(summary(verdict, waivers, past), encoding="utf-8")
    for tool in sorted({gate.tool for gate in verdict.gates if gate.status in ("passed", "blocked")}):
        content = sarif(tool, [finding for finding in verdict.findings if finding.tool == tool], verdict.waived)
        (job.output / f"{tool}.sarif").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def say(verdict: Verdict) -> None:
    """Print what became of each gate, what blocks, and at the end what was skipped."""
    for gate in verdict.gates:
        if gate.status != "skipped":
            print(
                f"{gate.status.upper():8} {gate.name:22} {gate.findings:4} findings {gate.seconds:6.1f} s  {gate.reason}"
            )
    for found in verdict.blocking:
        print(f"BLOCKS   {found.severity} {found.tool} {found.id} {found.path}:{found.line} {found.message}")
    for gate in verdict.gates:
        if gate.status == "skipped":
            print(f"SKIPPED  {gate.name:22} {gate.reason}")
    decision = "stopped" if verdict.stops else "nothing blocks"
    print(f"{decision}; {len(verdict.waived)} findings waived, {len(verdict.skipped)} gates skipped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 if nothing blocks, 1 if something does, 2 if it cannot be judged at all."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description="The security gates.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the gates")
    command = commands.add_parser("run", help="run them")
    command.add_argument("--only", nargs="+", choices=list(GATES), default=list(GATES), metavar="NAME")
    command.add_argument("--root", type=Path, default=root, help="repository to judge")
    command.add_argument("--tools", type=Path, default=root / ".tools" / "bin", help="folder of the scanners")
    command.add_argument("--output", type=Path, help="default: build/security of the root")
    command.add_argument("--history", type=Path, help="default: history.jsonl of the output")
    command.add_argument("--python", type=Path, default=Path(sys.executable), help="whose environment holds the locks")
    command.add_argument("--image", nargs="+", default=[], metavar="NAME", help="images to look into as well")
    command.add_argument(
        "--today", type=date.fromisoformat, default=datetime.now(UTC).date(), help="day waivers are held to"
    )
    command.add_argument("--require-all", action="store_true", help="a skipped gate blocks too")
    command.add_argument(
        "--require", nargs="+", choices=list(GATES), default=[], metavar="NAME", help="a skipped one of these blocks"
    )
    given = parser.parse_args(arguments)
    if given.command == "list":
        for name, (tool, gate) in GATES.items():
            print(f"{name:22} {tool:13} {(gate.__doc__ or '').splitlines()[0]}")
        return 0
    if unrun := [name for name in given.require if name not in given.only]:
        parser.error(f"{unrun[0]} is required, and --only leaves it out")
    output = (given.output or given.root / "build" / "security").resolve()
    output.mkdir(parents=True, exist_ok=True)
    # What an earlier run left would pass for an answer of this one.
    for pattern in ("*.sarif", "*.cdx.json", "findings.json", "summary.md"):
        for old in output.glob(pattern):
            old.unlink()
    job = Job(given.root.resolve(), given.tools.absolute(), output, given.python.absolute(), tuple(given.image))
    try:
        waivers = read_waivers(job.root)
        required = list(GATES) if given.require_all else given.require
        verdict = judge(job, given.only, waivers, today=given.today, required=required)
        write_reports(job, verdict, waivers, given.history or output / "history.jsonl")
    except (GateError, SkipError) as error:
        print(error, file=sys.stderr)
        return 2
    say(verdict)
    print(output / "summary.md")
    return 1 if verdict.stops else 0


if __name__ == "__main__":
    sys.exit(main())
