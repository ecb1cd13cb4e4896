//go:build !race

package tokenkv

// RaceDetector is what makes all of this ten times as slow.
const RaceDetector = false
