#!/usr/bin/env bash
# Prepares a release of every published module in a clone, artifacts/release,
# and checks it there: whether the version is a fit number for what changed, and
# whether each module builds from what is tagged alone, as it will for users.
# Pushing the tags, which is all that is left, is printed and not done.
#
# The modules need each other, and a published go.mod replaces nothing. So each
# gets a commit that only its tag leads to, after the modules that it needs. The
# go command fetches them from the clone, as it will from the origin.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "release-check: $*" >&2; exit 1; }

version=${1:-}
[[ $version =~ ^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || die "say which version, such as v0.2.0; '$version' is none"
root=$PWD
export GOWORK=off
library=$(go list -m)
modules=(tokensql tokenredis keyring cmd/piecesauth) # after what they need
before=$(git tag --list 'v*' --sort=-version:refname | head -n 1)

[ "$(git status --porcelain)" = '' ] || die 'there are changes that are not committed'
[ -z "$(git tag --list "$version" "*/$version")" ] || die "$version is tagged already"
grep -qx "## $version\([ ,].*\)\?" CHANGELOG.md || die "CHANGELOG.md has no part named '## $version'"
[ "v$(sed -n 's/^const Version = "\(.*\)"$/\1/p' config.go)" = "$version" ] || die "Version in config.go is another than ${version#v}"

clone=$root/artifacts/release
rm -rf "$clone"
git clone -q --no-hardlinks "$root" "$clone"
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
go -C tools/check build -o "$cache/gorelease" golang.org/x/exp/cmd/gorelease
# Ours come from the clone, into a module cache of their own, so that these tags
# never stand for published ones; all others come from the usual cache.
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0="url.file://$clone.insteadOf" GIT_CONFIG_VALUE_0="https://$library" \
	GIT_CONFIG_KEY_1=protocol.file.allow GIT_CONFIG_VALUE_1=always
GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
GIT_AUTHOR_NAME=$(git log -1 --format=%an) GIT_AUTHOR_EMAIL=$(git log -1 --format=%ae)
export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
export GOPROXY GOPRIVATE="$library,$library/*" GOMODCACHE="$cache/mod" GOFLAGS="-modcacherw -trimpath"

# Judges the number by gorelease, from the release before. Within v0 that lets
# anything pass, so what breaks callers and keeps the minor version is refused here.
judge() { # module's folder
	local base=none prefix=${1#.} said
	[ -z "$before" ] || [ -z "$(git tag --list "${prefix:+$prefix/}$before")" ] || base=$before
	said=$(cd "$1" && "$cache/gorelease" -base="$base" -version="$version") || die "$said"
	echo "$said"
	if [ "${base%.*}" = "${version%.*}" ] && awk '/^#/ {on = /^## incompatible changes/} on && /^[^#]/ && !/^Version: value changed/ {found = 1} END {exit !found}' <<<"$said"; then
		die "$1 breaks callers since $base: raise the minor version"
	fi
}

cd "$clone"
git checkout -q --detach
tags=("$version")
echo "==> $library $version"
judge . # before the tag, since a version that exists is no new one
git tag "$version"
for module in "${modules[@]}"; do
	echo "==> $library/$module $version"
	cd "$clone/$module"
	edits=()
	while read -r needed; do
		edits+=(-dropreplace="$needed" -require="$needed@$version")
	done < <(go mod edit -json | sed -n 's|^[[:space:]]*"Path": "\('"$library"'[^"]*\)",\{0,1\}$|\1|p' | sort -u | grep -vx "$library/$module")
	go mod edit "${edits[@]}"
	go mod tidy
	! grep -n '^replace\|=>' go.mod || die "$module/go.mod still replaces something"
	GOFLAGS="$GOFLAGS -mod=readonly" go build -o /dev/null ./...
	cd "$clone"
	git commit -qam "Release $module $version"
	judge "$module"
	git tag "$module/$version"
	tags+=("$module/$version")
done

echo "==> what users do"
mkdir "$cache/user" && cd "$cache/user"
GOBIN=$cache/bin go install "$library/cmd/piecesauth@$version"
"$cache/bin/piecesauth" version | grep -F "${version#v}"
go mod init example.com/user >/dev/null 2>&1
packages=("${modules[@]/#/$library/}")
go get "$library@$version" "${packages[@]/%/@$version}"
go list -m all | grep -F "$library"

echo
echo "$version is ready, in artifacts/release. Nothing is published. To publish it, in this order:"
if grep -qi "^## $version.*unreleased" "$root/CHANGELOG.md"; then
	echo "  put the date into CHANGELOG.md, where it says unreleased; commit; make release-check VERSION=$version"
fi
for tag in "${tags[@]}"; do
	echo "  git -C artifacts/release push $(git -C "$root" remote get-url origin 2>/dev/null || echo ORIGIN) $tag"
done
