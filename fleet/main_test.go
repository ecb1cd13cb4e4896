package fleet_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// What a process is that was started by start.
const roleVariable = "FLEET_ROLE"

var roles = map[string]func(config []byte) error{
	"replica": replicaRole,
	"auth":    authRole,
}

func TestMain(m *testing.M) {
	flag.Parse()
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would tell of each cut, and takes any logger
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role]([]byte(os.Getenv(roleVariable + "_CONFIG"))); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

// serve answers each line of the standard input that is a request, until it ends.
func serve[Request, Answer any](handle func(Request) (Answer, error)) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for in.More() {
		var request Request
		if err := in.Decode(&request); err != nil {
			return err
		}
		answer, err := handle(request)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}
