#!/usr/bin/env bash
# Tests this module at a real Secret Service: gnome-keyring, on a bus and with a
# folder of its own, so that nobody's credentials are touched. What is missing is
# installed by apt.
set -euo pipefail
cd "$(dirname "$0")"
export GOWORK=off

missing=()
command -v gnome-keyring-daemon >/dev/null || missing+=(gnome-keyring)
command -v dbus-run-session >/dev/null || missing+=(dbus-daemon)
command -v dbus-send >/dev/null || missing+=(dbus-bin)
if [ ${#missing[@]} -gt 0 ]; then
	sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export XDG_DATA_HOME="$folder/data" XDG_RUNTIME_DIR="$folder/run"
mkdir -m 700 -p "$XDG_DATA_HOME" "$XDG_RUNTIME_DIR"

go test -c -tags secretservice -o "$folder/keyring.test" .
# The collection "login" is made with the password on standard input, and unlocked.
# The test that locks it comes last, as it stands in the file.
dbus-run-session -- bash -euo pipefail -c '
	printf password | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
	"$1" -test.run SecretService -test.v -test.count=1
' bash "$folder/keyring.test"
