// Package tokenkv keeps the tokens of any number of people, for any number of
// machines, in any database that can compare and swap.
package tokenkv
