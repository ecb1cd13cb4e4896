#!/usr/bin/env bash
# Prints what the working tree is compared with: the last tag, else where it
# left origin/main, else nothing.
set -euo pipefail
git describe --tags --abbrev=0 --match 'v*' 2>/dev/null ||
	git merge-base HEAD origin/main 2>/dev/null ||
	true
