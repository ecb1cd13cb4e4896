// Package routers mounts the handler of package web in routers that others use.
package routers
