//go:build !soak

package tokenfile_test

const (
	soakProcesses = 5
	soakRounds    = 15
)
