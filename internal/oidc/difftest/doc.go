// Package difftest compares how ID tokens and key sets are read by package oidc
// and by another JOSE library. Both have to agree, or ours is stricter for a
// reason that has a name in the test.
//
// It is a module of its own, so that nobody else depends on that library.
package difftest
