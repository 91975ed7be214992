#!/usr/bin/env bash
# Builds the images of docker-compose.yml and says how long each took.
#   scripts/images.sh [TARGET...]      runtime backup research (all of them)
# Settings: PYTHON_IMAGE another base (a mirror); GRODT_TAG the tag (dev); GRODT_SIZES=1 also say how
# large each is; GRODT_SBOM=1 also write
# build/sbom/TARGET.cdx.json, what is inside, with syft from `make tools`; NO_CACHE=1 build everything anew. The version
# is that of `make setup`'s environment (from git's tags), 0.0.0 without.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${GRODT_TAG:-dev}
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(runtime backup research)

base=$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)
if [ -z "${PYTHON_IMAGE:-}" ] && ! docker pull --quiet "$base" >/dev/null 2>&1; then
  if [ -n "${GRODT_PUSH_REGISTRY:-}" ]; then
    echo "refused: $base cannot be pulled; what is pushed is built on the base that is pinned, never on its tag" >&2
    exit 1
  fi
  echo "SKIPPED the base image that ships: no registry gives $base; building on this machine's ${base%@*}"
  PYTHON_IMAGE=${base%@*}
  GRODT_BUILD_NETWORK=${GRODT_BUILD_NETWORK:-host} # such a machine reaches its packages in its own way
fi

arguments=(--network "${GRODT_BUILD_NETWORK:-default}")
[ -z "${PYTHON_IMAGE:-}" ] || arguments+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
[ -z "${NO_CACHE:-}" ] || arguments+=(--no-cache)
# The certificates of this machine, for one whose registries are behind a proxy; they stay out of the image.
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || arguments+=(--secret "id=ca,src=/etc/ssl/certs/ca-certificates.crt")
version=$(.venv/bin/python -m hatchling version 2>/dev/null || echo 0.0.0)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
created=$(git log -1 --format=%cI 2>/dev/null || echo 1970-01-01T00:00:00Z)

for target in "${targets[@]}"; do
  name=grodt
  [ "$target" = runtime ] || name=grodt-$target
  began=$SECONDS
  docker build --quiet "${arguments[@]}" --build-arg "GRODT_VERSION=$version" --build-arg "GRODT_REVISION=$revision" \
    --build-arg "GRODT_CREATED=$created" --target "$target" --tag "$name:$tag" . >/dev/null
  printf '%-10s %4ss  %s' "$target" $((SECONDS - began)) "$name:$tag"
  if [ -n "${GRODT_SIZES:-}" ]; then
    unpacked=$(docker image inspect --format '{{.Size}}' "$name:$tag")
    packed=$(docker save "$name:$tag" | gzip -1 | wc -c)
    printf '  %s MB as sent by a registry, %s MB unpacked' $((packed / 1000000)) $((unpacked / 1000000))
  fi
  echo
  if [ -n "${GRODT_SBOM:-}" ]; then
    mkdir -p build/sbom
    docker save --output build/sbom/image.tar "$name:$tag"
    .tools/bin/syft scan --quiet docker-archive:build/sbom/image.tar --output "cyclonedx-json=build/sbom/$target.cdx.json"
    rm build/sbom/image.tar
  fi
done
