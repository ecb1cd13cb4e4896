#!/usr/bin/env bash
# Runs the tests against real databases, with the arguments given to go test.
# databases.sh starts them. One that FLEET_POSTGRES, FLEET_MARIADB, FLEET_REDIS or
# FLEET_CLUSTER (a Redis Cluster) has the address of is used as it is, by all
# tests but those that restart it; its tables piecesauth_fleet_… and its keys
# fleet:… are the tests' own.
set -euo pipefail
cd "$(dirname "$0")"
export GOWORK=off
exec ./databases.sh postgres mariadb redis cluster -- go test -count=1 "$@" ./...
