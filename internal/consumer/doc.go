// Package consumer uses the library as an outsider does, from a module of its
// own: what its tests need, the public API gives.
package consumer
