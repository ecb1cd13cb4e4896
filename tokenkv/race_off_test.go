//go:build !race

package tokenkv

const raceDetector = false
