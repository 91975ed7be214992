#!/usr/bin/env bash
# Refuses an image unless it is named by digest, signed by our key, and attested with its bill of materials.
#   scripts/ci/verify-image.sh PUBLIC_KEY NAME@sha256:...
set -euo pipefail
key=${1:?usage: verify-image.sh PUBLIC_KEY NAME@sha256:...}
image=${2:?usage: verify-image.sh PUBLIC_KEY NAME@sha256:...}
if [[ ! $image =~ @sha256:[0-9a-f]{64}$ ]]; then
  echo "refused: $image has no digest; what a tag stands for can be changed by whoever can push" >&2
  exit 1
fi
options=(--insecure-ignore-tlog=true --key "$key") # our key pair vouches, no public log
case ${image%%/*} in 127.0.0.1:* | localhost:*) options+=(--allow-http-registry) ;; esac
cosign verify "${options[@]}" "$image" >/dev/null 2>&1 || { echo "refused: $image is not signed by $key" >&2; exit 1; }
cosign verify-attestation "${options[@]}" --type cyclonedx "$image" >/dev/null 2>&1 ||
  { echo "refused: $image has no bill of materials signed by $key" >&2; exit 1; }
echo "verified: $image"
