package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

const waiting = "Waiting for you to sign in there (Ctrl-C gives up) …"

// invitation prints, after the address of the sign-in page, what happens next. On
// a terminal it then counts the seconds until anything else is printed: a person
// may be pasting, and their input must not be overwritten.
type invitation struct {
	to   io.Writer
	live bool // to is a terminal

	mu     sync.Mutex
	ticker *time.Ticker // nil unless the seconds are counted
	since  time.Time    // when the wait began; zero before
	open   bool         // the line has not ended yet
}

func (i *invitation) Write(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.end()
	n, err := i.to.Write(b)
	if err == nil && i.since.IsZero() {
		i.since, i.open = time.Now(), true
		if i.ticker != nil {
			i.ticker.Reset(time.Second)
		}
		if _, err = io.WriteString(i.to, waiting); !i.live {
			i.end()
		}
	}
	return n, err
}

// end ends the line.
func (i *invitation) end() {
	if i.open {
		i.open = false
		_, _ = io.WriteString(i.to, "\n")
	}
}

// count shows the seconds until stop is called, which ends the line.
func (i *invitation) count() (stop func()) {
	if !i.live {
		return func() {}
	}
	done, ticker := make(chan struct{}), time.NewTicker(time.Second)
	i.mu.Lock()
	i.ticker = ticker
	i.mu.Unlock()
	var counting sync.WaitGroup
	counting.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				i.show()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		counting.Wait()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.end()
	}
}

func (i *invitation) show() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if waited := time.Since(i.since).Truncate(time.Second); i.open && waited > 0 {
		_, _ = fmt.Fprintf(i.to, "\r%s %v", waiting, waited)
	}
}

// rewritable reports whether w is a terminal that is wide enough for the line: a
// wrapped line can't be overwritten.
func rewritable(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return false
	}
	width, _, err := term.GetSize(int(file.Fd()))
	return err == nil && (width == 0 || width > len(waiting)+len(" 14m59s")) // 0 means unknown
}
