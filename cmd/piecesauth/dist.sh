#!/usr/bin/env bash
# Builds the command for every system, statically, into the folder given or
# artifacts/dist, with checksums. The same sources and Go make the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../artifacts/dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/piecesauth_* "$out"/SHA256SUMS
cd "$here"
export GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0
unset GOEXPERIMENT
version=$(go run . version | cut -d' ' -f2)
for os in linux darwin windows; do
	for arch in amd64 arm64; do
		suffix=; [ $os != windows ] || suffix=.exe
		GOOS=$os GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 \
			go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$out/piecesauth_${version}_${os}_$arch$suffix" .
	done
done
cd "$out"
if command -v sha256sum >/dev/null; then
	sha256sum piecesauth_* >SHA256SUMS
else
	shasum -a 256 piecesauth_* >SHA256SUMS
fi
cat SHA256SUMS
