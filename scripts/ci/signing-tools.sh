#!/usr/bin/env bash
# Puts cosign (signs images) and docker-registry (a registry on loopback) into .tools/bin, unless the machine has them.
# Both are unpacked from packages, apt checking signatures as ever; nothing of the system is changed. On Debian they come
# from the release that has them, elsewhere (Ubuntu has docker-registry) from the machine's own.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/.tools/bin
mkdir -p "$bin"

# The oldest Debian release with cosign is trixie; its binary needs no library of that release.
declare -A suites=([cosign]=trixie [docker-registry]=bookworm)
keys=${GRODT_DEBIAN_KEYS:-/usr/share/keyrings/debian-archive-keyring.gpg}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for program in "${!suites[@]}"; do
  if command -v "$program" >/dev/null || [ -x "$bin/$program" ]; then continue; fi
  # Where this machine's own packages come from, for another release.
  # shellcheck disable=SC2016  # apt puts in the values
  site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 2>/dev/null | sed -n 1p)
  suite=
  [ -z "$site" ] || [ ! -f "$keys" ] || suite=${suites[$program]}
  folder=$work/${suite:-own}
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  apt=(apt-get -qq -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  if [ -n "$suite" ]; then
    echo "deb [signed-by=$keys] $site $suite main" >"$folder/sources.list"
    apt+=(-o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null)
  fi
  if ! (cd "$folder" && "${apt[@]}" update && "${apt[@]}" download "$program" && dpkg -x "$program"_*.deb unpacked); then
    echo "SKIPPED $program: not installed, and no package of it here"
    continue
  fi
  install -m 755 "$folder/unpacked/usr/bin/$program" "$bin/$program"
  echo "$program from ${suite:-the release of this machine}"
done
