#!/usr/bin/env bash
# The Debian packages the full test run needs; nothing is installed that is already there. Needs root.
set -euo pipefail
wanted=()
# Only their programs are used; Debian would start both as services.
for package in prometheus prometheus-alertmanager; do
  dpkg-query -W -f "\${db:Status-Status}" "$package" 2>/dev/null | grep -qx installed || wanted+=("$package")
done
command -v chromium >/dev/null || wanted+=(chromium)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || wanted+=(postgresql)
python3 -c 'import ensurepip' 2>/dev/null || wanted+=(python3-venv)
command -v make >/dev/null || wanted+=(make)
if [ ${#wanted[@]} -eq 0 ]; then
  echo "all there"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
echo "installed: ${wanted[*]}"
