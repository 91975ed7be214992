#!/usr/bin/env bash
# Refuses a release whose tag is not on main, is not what git calls this commit, or has no section in the changelog.
#   scripts/ci/release-check.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:?usage: release-check.sh vX.Y.Z}
[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "refused: $tag is not vX.Y.Z" >&2; exit 1; }
git describe --tags --exact-match --match "$tag" >/dev/null 2>&1 || { echo "refused: this commit is not $tag" >&2; exit 1; }
main=$(git rev-parse --verify --quiet origin/main || git rev-parse --verify main)
git merge-base --is-ancestor HEAD "$main" || { echo "refused: $tag is not on main" >&2; exit 1; }
grep -qE "^## ${tag#v}( |$)" CHANGELOG.md || { echo "refused: CHANGELOG.md has no section '## ${tag#v}'" >&2; exit 1; }
echo "$tag may be released"
