#!/usr/bin/env bash
# Asks gorelease whether a version is a fit number for what changed since the
# last tag. The tags are read from this repository, as a module proxy would
# give them, so that nothing has to be published first.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?say which version, such as v0.2.0}
export GOWORK=off
root=$PWD
module=$(go list -m)

proxy=$(mktemp -d)
trap 'rm -rf "$proxy"' EXIT
versions=$proxy/$module/@v
mkdir -p "$versions"
: >"$versions/list"
base=none
for tag in $(git tag --list 'v*' --sort=version:refname); do
	base=$tag
	echo "$tag" >>"$versions/list"
	printf '{"Version":"%s","Time":"%s"}' "$tag" "$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd "$tag")" >"$versions/$tag.info"
	git show "$tag:go.mod" >"$versions/$tag.mod"
	# A module's zip has no modules within it.
	within=$(git ls-tree -r --name-only "$tag" | sed -n 's|^\(.*\)/go\.mod$|:(exclude)\1|p')
	mapfile -t within <<<"$within"
	git archive --format=zip --prefix="$module@$tag/" -o "$versions/$tag.zip" "$tag" . "${within[@]}"
done
# A module cache of its own, filled from the usual one, so that these tags never
# stand for published ones.
GOPROXY="file://$proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" \
	GOMODCACHE="$proxy/cache" GOFLAGS="$(go env GOFLAGS) -modcacherw" GONOSUMDB="$module" \
	go tool -modfile="$root/tools/check/go.mod" gorelease -base="$base" -version="$version"
