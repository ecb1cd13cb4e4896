#!/usr/bin/env bash
# Prints how the Go API of the working tree differs from the last tag, or from
# the merge base with origin/main. After a tag, a breaking change has to be
# announced in the Unreleased part of CHANGELOG.md, under "### Breaking".
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export GOWORK=off

base=$(tools/base.sh)
if [ -z "$base" ]; then
	echo 'No tag and no origin/main: there is nothing to compare the Go API with.'
	exit 0
fi
module=$(go list -m)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/base"
git archive "$base" | tar -x -C "$tmp/base"
if ! (cd "$tmp/base" && go list . >/dev/null 2>&1); then
	echo "$base holds no package yet: there is nothing to compare the Go API with."
	exit 0
fi

apidiff() { go tool -modfile="$root/tools/check/go.mod" apidiff "$@"; }
(cd "$tmp/base" && apidiff -m -w "$tmp/base.api" "$module")
apidiff -m -w "$tmp/head.api" "$module"
echo "Go API against $base:"
apidiff -m "$tmp/base.api" "$tmp/head.api" | tee "$tmp/changes"
[ -s "$tmp/changes" ] || echo 'no change'

incompatible=$(apidiff -m -incompatible "$tmp/base.api" "$tmp/head.api")
if [ -n "$incompatible" ] && [[ $base == v* ]]; then
	if ! awk '/^## /{on = tolower($0) ~ /unreleased/} on && /^### Breaking/{found = 1} END{exit !found}' CHANGELOG.md; then
		echo "Breaking changes since $base: announce them in CHANGELOG.md, under Unreleased, as \"### Breaking\"." >&2
		exit 1
	fi
fi
