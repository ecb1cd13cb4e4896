// Package consumer uses the library as an outsider does, from a module of its
// own: its tests need nothing but the public API.
package consumer
