// Package fleet holds the tests of packages tokenkv, tokensql and tokenredis
// against real databases, with replicas that are processes of their own and
// are killed, stopped and cut off. The script run.sh starts what they need.
package fleet
