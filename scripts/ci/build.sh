#!/usr/bin/env bash
# Builds once what is released, tries it, and only then pushes it, by digest, signed and attested.
#   scripts/ci/build.sh
# Settings: GRODT_PUSH_REGISTRY where to push (host/owner; you are logged in); without it a registry on loopback that
# ends with this script. COSIGN_PRIVATE_KEY and COSIGN_PASSWORD, the key pair that signs; without them one made for this
# run, which proves the way and nothing else. GRODT_REQUIRE_DOCKER=1: without an engine or cosign it fails. With
# GRODT_PUSH_REGISTRY nothing may be left out: no key, no engine or a gate that was skipped, and nothing is pushed.
# Results: dist/, build/images.json, build/sbom/, build/security-image/.
set -euo pipefail
cd "$(dirname "$0")/../.."
step() { printf '==> %s (%ss)\n' "$*" "$SECONDS"; }
left_out() {
  echo "SKIPPED images: $1"
  [ -z "${GRODT_PUSH_REGISTRY:-}${GRODT_REQUIRE_DOCKER:-}" ] || exit 1
  exit 0
}

# A key made for this run vouches for nothing once the run is over: nobody could verify what it signed.
if [ -n "${GRODT_PUSH_REGISTRY:-}" ] && [ -z "${COSIGN_PRIVATE_KEY:-}" ]; then
  echo "refused: GRODT_PUSH_REGISTRY is set and COSIGN_PRIVATE_KEY is not; what is pushed must be signed" >&2
  exit 1
fi

step "wheel and sdist, twice: the same bytes"
scripts/ci/reproducible.sh

docker version >/dev/null 2>&1 || left_out "no Docker engine answers"
scripts/ci/signing-tools.sh
PATH=$PATH:$PWD/.tools/bin
command -v cosign >/dev/null || left_out "no cosign to sign them with"
[ -n "${GRODT_PUSH_REGISTRY:-}" ] || command -v docker-registry >/dev/null || left_out "no registry to push them to"

work=$(mktemp -d)
registry_pid=
trap '[ -z "$registry_pid" ] || kill "$registry_pid" 2>/dev/null; rm -rf "$work"' EXIT

step "images"
export GRODT_TAG=${GRODT_TAG:-dev} GRODT_SBOM=1 GRODT_SIZES=1
scripts/images.sh

step "security gates of the images"
.venv/bin/python scripts/ci/security.py run --only image image-vulnerabilities image-sbom \
  --image "grodt:$GRODT_TAG" "grodt-backup:$GRODT_TAG" "grodt-research:$GRODT_TAG" --output build/security-image ${GRODT_PUSH_REGISTRY:+--require-all}

step "the image is tried before anybody can pull it"
hardened=(--rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp:mode=1777
  --tmpfs "/app/data:uid=10001,gid=10001" --tmpfs "/var/cache/grodt:uid=10001,gid=10001")
docker run "${hardened[@]}" --entrypoint sh "grodt:$GRODT_TAG" -c '
  grodt --version
  grodt config validate >/dev/null
  grodt data synth G1 --bars 20000 --seed 7 >/dev/null
  grodt backtest s1_trend --venue synthetic --symbol G1 --timeframe 1m --regime any --json >/tmp/run.json
  python -c "import json; run = json.load(open(\"/tmp/run.json\")); assert run[\"metrics\"][\"trade_count\"] > 100, run
print(int(run[\"metrics\"][\"trade_count\"]), \"trades\")"'

registry=${GRODT_PUSH_REGISTRY:-}
options=(--tlog-upload=false) # our key pair vouches; a public log would have to be reachable from production
verify=(--insecure-ignore-tlog=true)
if [ -z "$registry" ]; then
  step "a registry on loopback, for want of GRODT_PUSH_REGISTRY"
  port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat >"$work/registry.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
END
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  registry=127.0.0.1:$port
  options+=(--allow-http-registry)
  verify+=(--allow-http-registry)
  for _ in $(seq 50); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 0.1
  done
fi
key=$work/cosign.key
if [ -n "${COSIGN_PRIVATE_KEY:-}" ]; then
  (umask 077 && printf '%s' "$COSIGN_PRIVATE_KEY" >"$key")
  cosign public-key --key "$key" >"$work/cosign.pub"
else
  step "a key pair for this run, for want of COSIGN_PRIVATE_KEY"
  COSIGN_PASSWORD=$(head -c 24 /dev/urandom | base64)
  (cd "$work" && COSIGN_PASSWORD=$COSIGN_PASSWORD cosign generate-key-pair 2>/dev/null)
fi
export COSIGN_PASSWORD

pushed=()
for target in runtime backup research; do
  name=grodt
  [ "$target" = runtime ] || name=grodt-$target
  step "push, sign, attest, verify: $name"
  docker tag "$name:$GRODT_TAG" "$registry/$name:$GRODT_TAG"
  docker push --quiet "$registry/$name:$GRODT_TAG" >/dev/null
  reference=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$registry/$name:$GRODT_TAG" |
    grep -F "$registry/$name@" | tail -1)
  if ! { cosign sign --yes "${options[@]}" --key "$key" "$reference" &&
    cosign attest --yes "${options[@]}" --key "$key" --type cyclonedx --predicate "build/sbom/$target.cdx.json" "$reference"; } \
    2>"$work/cosign.log"; then
    cat "$work/cosign.log" >&2
    exit 1
  fi
  scripts/ci/verify-image.sh "$work/cosign.pub" "$reference"
  pushed+=("\"$target\": \"$reference\"")
done
(IFS=,; printf '{%s}\n' "${pushed[*]}") >build/images.json

if [ -n "$registry_pid" ]; then
  step "an image that was tampered with, or that nobody signed, is refused"
  scripts/ci/refuses-tampered.sh "$work/cosign.pub" "$registry" "$work/registry" "$GRODT_TAG"
fi
cat build/images.json
step "done"
