#!/usr/bin/env bash
# Prints what the working tree is compared with: the last tag, else where it
# left origin/main, else nothing. On main itself that is the commit before.
set -euo pipefail
if tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); then
	echo "$tag"
	exit
fi
base=$(git merge-base HEAD origin/main 2>/dev/null) || exit 0
if [ "$base" = "$(git rev-parse HEAD)" ] && [ -z "$(git status --porcelain)" ]; then
	base=$(git rev-parse --verify --quiet HEAD^) || exit 0
fi
echo "$base"
