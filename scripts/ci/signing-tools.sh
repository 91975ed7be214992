#!/usr/bin/env bash
# Puts cosign (signs images) and docker-registry (a registry on loopback) into .tools/bin, unless the machine has them.
# Both are unpacked from Debian packages, apt checking signatures as ever; nothing of the system is changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/.tools/bin
mkdir -p "$bin"

# The oldest Debian release with cosign is trixie; its binary needs no library of that release.
declare -A suites=([cosign]=trixie [docker-registry]=bookworm)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for program in "${!suites[@]}"; do
  if command -v "$program" >/dev/null || [ -x "$bin/$program" ]; then continue; fi
  suite=${suites[$program]}
  # Where this machine's own packages come from, for another release.
  # shellcheck disable=SC2016  # apt puts in the values
  site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 2>/dev/null | sed -n 1p)
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -n "$site" ] && [ -f "$keys" ] || { echo "SKIPPED $program: not installed, and this is no Debian to take it from"; continue; }
  mkdir -p "$work/$suite/lists/partial" "$work/$suite/cache/archives/partial"
  echo "deb [signed-by=$keys] $site $suite main" >"$work/$suite/sources.list"
  apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/$suite/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/$suite/lists" -o "Dir::Cache=$work/$suite/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$work/$suite" && "${apt[@]}" download "$program" && dpkg -x "$program"_*.deb unpacked)
  install -m 755 "$work/$suite/unpacked/usr/bin/$program" "$bin/$program"
  echo "$program from Debian $suite"
done
