package loopback

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/callback"
)

// line is one line of Input, or the reason why there are no more.
type line struct {
	text string
	err  error
}

var errInputEnded = errors.New("ended")

// read asks for the final URL, and starts to read Input, unless there is none
// or it is being read already.
func (s *signIn) read(ctx context.Context) error {
	if s.options.Input == nil || s.lines != nil {
		return nil
	}
	s.lines = readLines(ctx, s.options.Input)
	return s.say("Then paste the address the browser ends at, and press Enter. It begins with %s\n", s.beginning())
}

// beginning returns how the final URL begins.
func (s *signIn) beginning() string {
	redirectURL := s.attempt.RedirectURL
	switch {
	case s.fragment:
		return redirectURL + "#"
	case strings.Contains(redirectURL, "?"):
		return redirectURL + "&"
	}
	return redirectURL + "?"
}

// pasted handles a line of Input. It returns nil if the person has to try
// again.
func (s *signIn) pasted(l line) (*received, error) {
	switch text := strings.TrimSpace(l.text); {
	case l.err != nil && s.pasteOnly:
		if errors.Is(l.err, errInputEnded) {
			return nil, errors.New("loopback: Options.Input ended before the final URL was pasted")
		}
		return nil, fmt.Errorf("loopback: reading Options.Input for the final URL: %w", l.err)
	case l.err != nil:
		s.lines = nil   // the redirect may still come
		return nil, nil //nolint:nilerr // which is no reason to end
	case text == "":
		return nil, nil
	default:
		values, problem := s.check(text)
		if problem != "" {
			return nil, s.say("That is not the address this sign-in ends at, which begins with %s: %s. Try again:\n", s.beginning(), problem)
		}
		if first, _ := s.session.claim(values, nil); !first {
			return nil, nil // the browser was first
		}
		return &received{values: values}, nil
	}
}

// check returns the values of a pasted URL, or what is wrong with it.
func (s *signIn) check(text string) (values url.Values, problem string) {
	values, err := piecesauth.ParseCallback(text)
	if err != nil {
		return nil, "it has neither code nor error that can be read"
	}
	if len(values["state"]) == 0 {
		return nil, "it has no state, so its end may be missing; where a terminal cuts long lines, code=…&state=… out of it is enough"
	}
	if problem := stateProblem(values["state"], s.attempt.State); problem != "" {
		return nil, "it has " + problem
	}
	if name := callback.Repeated(values); name != "" {
		return nil, "it has " + name + " more than once"
	}
	return values, ""
}

// readLines sends the lines of in until it ends or ctx does. A reader that
// panics counts as ended, because no caller could recover from a panic in this
// goroutine.
func readLines(ctx context.Context, in io.Reader) <-chan line {
	lines := make(chan line)
	send := func(l line) bool {
		select {
		case lines <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		end := line{err: errors.New("Read panicked")}
		defer func() {
			_ = recover()
			send(end)
		}()
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			if !send(line{text: scanner.Text()}) {
				return
			}
		}
		if end.err = scanner.Err(); end.err == nil {
			end.err = errInputEnded
		}
	}()
	return lines
}
