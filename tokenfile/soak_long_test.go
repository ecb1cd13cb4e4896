//go:build soak

package tokenfile_test

const (
	soakProcesses = 20
	soakRounds    = 200
)
