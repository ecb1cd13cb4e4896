// Package webbench compares package web with what others use for sessions.
package webbench
