#!/usr/bin/env bash
# What machines judge without running the program: each gate runs, the failed ones are named at the end, and are the
# exit code. A gate whose program is missing is SKIPPED, and said so.
#   scripts/check.sh [GATE...]      all of them, or those named
set -uo pipefail
cd "$(dirname "$0")/.." || exit
bin=.venv/bin
tools=.tools/bin
failed=()
skipped=()
wanted=" $* "

# gate NAME PROGRAM ARGUMENTS...
gate() {
  local name=$1
  shift
  [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
  echo "==> $name: $*"
  if [[ $1 == "$tools"/* && ! -x $1 ]]; then
    skipped+=("$name: $1 is not there, run \`make tools\`")
    return 0
  fi
  "$@" || failed+=("$name")
}

no_host_in_locks() { ! grep -n '://' requirements*.lock benchmarks/requirements.lock scripts/ci-tools.lock; }

settings_of_every_environment() {
  local environment
  for environment in development staging production; do
    env -u GRODT_HOME "$bin/grodt" config validate --environment "$environment" >/dev/null || return 1
  done
}

# Where there is a base to compare with (a pull request): what users can notice has its line.
changelog() {
  local base=${GRODT_BASE:-}
  [ -n "$base" ] || { skipped+=("changelog: no base to compare with, set GRODT_BASE=origin/main"); return 0; }
  # The base of a new branch is forty zeros, that of a forced push may be gone: git then fails, which is no difference.
  git merge-base "$base" HEAD >/dev/null 2>&1 || { skipped+=("changelog: there is no base $base here"); return 0; }
  git diff --quiet "$base...HEAD" -- grodtd configs || ! git diff --quiet "$base...HEAD" -- CHANGELOG.md ||
    { echo "grodtd/ or configs/ changed since $base, CHANGELOG.md did not: add a line"; return 1; }
}

mapfile -t shell < <(git ls-files '*.sh' .ci/run)
mapfile -t yaml < <(git ls-files '*.yml' '*.yaml')
mapfile -t dockerfiles < <(git ls-files '*Dockerfile')

gate ruff "$bin/ruff" check .
gate black "$bin/black" --check --quiet .
gate isort "$bin/isort" --check-only --quiet .
gate mypy "$bin/mypy"
gate layers "$bin/lint-imports"
gate locks no_host_in_locks
gate settings settings_of_every_environment
gate changelog changelog
gate shellcheck "$tools/shellcheck" --external-sources "${shell[@]}"
gate yamllint "$tools/yamllint" --strict --config-file .yamllint.yaml "${yaml[@]}"
gate hadolint "$tools/hadolint" "${dockerfiles[@]}"
gate actionlint "$tools/actionlint" -shellcheck "$tools/shellcheck"
gate zizmor "$tools/zizmor" --offline --pedantic --quiet .github

for text in "${skipped[@]}"; do echo "SKIPPED $text"; done
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
