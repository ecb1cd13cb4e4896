#!/usr/bin/env bash
# Runs the end-to-end tests, after installing what they need: the provider's npm
# packages, and from Debian Chromium, where no Chromium or Chrome is on the PATH,
# PostgreSQL and Redis.
set -euo pipefail
cd "$(dirname "$0")"

die() { echo "e2e: $*" >&2; exit 1; }

find_chromium() {
	local name
	for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
		if [ -n "$name" ] && command -v "$name"; then return; fi
	done
	return 1
}

command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is needed"
if ! find_chromium >/dev/null; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		die "Chromium is needed: install it, or name it in CHROMIUM"
	fi
	echo "e2e: installing Chromium"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
CHROMIUM=$(find_chromium) || die "Chromium was installed but is not on the PATH"
export CHROMIUM

npm ci --prefix provider --no-audit --no-fund --loglevel=error
../fleet/databases.sh postgres redis -- go test -count=1 -timeout 20m "$@" ./...
