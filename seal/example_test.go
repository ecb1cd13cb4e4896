package seal_test

import (
	"crypto/rand"
	"fmt"
	"log"

	"github.com/piecesauth/piecesauth/seal"
)

// A key is replaced while what the old one sealed still opens.
func Example() {
	oldKey, newKey := make([]byte, 32), make([]byte, 32) // real keys come from where secrets are kept
	_, _ = rand.Read(oldKey)
	_, _ = rand.Read(newKey)

	before, err := seal.New(oldKey)
	if err != nil {
		log.Fatal(err)
	}
	sealed := before.Seal([]byte("a token"), "person 4711")

	after, err := seal.New(newKey, oldKey)
	if err != nil {
		log.Fatal(err)
	}
	plaintext, err := after.Open(sealed, "person 4711")
	fmt.Println(string(plaintext), err)

	_, err = after.Open(sealed, "person 4712")
	fmt.Println(err)
	// Output:
	// a token <nil>
	// seal: cannot be opened: it was altered, or sealed for another purpose
}
