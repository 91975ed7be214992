#!/usr/bin/env bash
# Plants images that must not pass, in a registry of our own on loopback, and checks that each is refused.
#   scripts/ci/refuses-tampered.sh PUBLIC_KEY REGISTRY REGISTRY_FOLDER TAG
set -euo pipefail
cd "$(dirname "$0")/../.."
key=$1 registry=$2 folder=$3 tag=$4
refused() { # WHAT IMAGE WHY
  if said=$(scripts/ci/verify-image.sh "$key" "$2" 2>&1) || [[ $said != *"$3"* ]]; then
    echo "NOT refused for that reason: $1: $said" >&2
    exit 1
  fi
  echo "refused as it must be: $1"
}
digest() { docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | grep -F "$registry/grodt@" | tail -1; }
signed=$(digest "$registry/grodt:$tag")
refused "a tag instead of a digest" "$registry/grodt:$tag" "has no digest"

# One more file in the image, pushed under the same tag.
printf 'FROM %s\nCOPY intruder /app/intruder\n' "grodt:$tag" >"$folder/Dockerfile"
echo "intruder" >"$folder/intruder"
docker build --quiet --network none --file "$folder/Dockerfile" --tag "$registry/grodt:$tag" "$folder" >/dev/null
docker push --quiet "$registry/grodt:$tag" >/dev/null
refused "another image under the same tag" "$(digest "$registry/grodt:$tag")" "is not signed"

# The signed image itself, changed in the registry's files: its name is a hash, so no engine takes it.
docker image rm "$registry/grodt:$tag" "$signed" >/dev/null 2>&1 || true
manifest=$folder/docker/registry/v2/blobs/sha256/$(cut -c1-2 <<<"${signed##*sha256:}")/${signed##*sha256:}/data
cp "$manifest" "$folder/kept"
sed -i 's/"size"/"sizE"/' "$manifest"
if docker pull --quiet "$signed" >/dev/null 2>&1; then
  echo "NOT refused: the signed image, its manifest changed in the registry" >&2
  exit 1
fi
echo "refused as it must be: the signed image, its manifest changed in the registry"
cp "$folder/kept" "$manifest"
docker pull --quiet "$signed" >/dev/null
scripts/ci/verify-image.sh "$key" "$signed"

COSIGN_PASSWORD='' cosign generate-key-pair --output-key-prefix "$folder/other" 2>/dev/null
said=$(scripts/ci/verify-image.sh "$folder/other.pub" "$signed" 2>&1) && { echo "NOT refused: another key" >&2; exit 1; }
echo "refused as it must be: signed by another key than the one asked for (${said%% is not*})"
docker image rm "$signed" >/dev/null
