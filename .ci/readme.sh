#!/usr/bin/env bash
# Does what the README says, as a newcomer does: in a fresh clone, with an empty
# home, its shell blocks in order, each target of make once. The caches alone are those of whoever runs
# this, so that nothing is downloaded or compiled twice. Its Go blocks are
# compiled, and its test is run, by internal/consumer.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/home"
git clone -q . "$tmp/clone"
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} !on {next}
	$1 != "make" {print; next}
	{line = ""; for (i = 2; i <= NF && $i !~ /^#/; i++) if (!done[$i]++) line = line " " $i}
	line != "" {print "make" line}' README.md >"$tmp/blocks.sh"
[ "$(grep -c . "$tmp/blocks.sh")" -ge 3 ] || { echo 'The README has fewer commands than it had.' >&2; exit 1; }

cd "$tmp/clone"
run=(env -u GOWORK -u GOFLAGS -u GOPATH -u GOBIN HOME="$tmp/home" XDG_CACHE_HOME="$tmp/home/.cache"
	GOCACHE="$(go env GOCACHE)" GOMODCACHE="$(go env GOMODCACHE)" bash -euo pipefail)
"${run[@]}" -x "$tmp/blocks.sh"
"${run[@]}" -c 'go run ./cmd/piecesauth version'
