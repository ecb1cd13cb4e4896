package refreshing

import "time"

const (
	firstPause  = 30 * time.Second // before a failed refresh is tried again; doubled each time
	mostPause   = 15 * time.Minute
	besidePause = 5 * time.Second // the same, for a refresh that nobody waits for
	mostBeside  = time.Minute
)

// failures is what a [Keeper] remembers of refreshes, so that the same request is
// not repeated at once.
type failures struct {
	failed *failure // the last failure, nil if the last refresh succeeded

	// Used by the refresh in progress only; times in nanoseconds of the wall clock:
	refreshed  int64 // when the last refresh succeeded
	rejections int   // refreshes in short succession because an API refused the value
	rejectedAt int64
}

type failure struct {
	refresh string // the refresh token; another one is tried at once
	err     error
	until   int64 // 0: until there is another refresh token
	pauses  int   // how often it failed in succession
	forAll  bool  // even if there is no valid value
}

// Lasts is how long a failed refresh is not tried again.
type Lasts int

const (
	// Briefly is for failures that may pass at any moment. Only callers who have
	// a valid value are held back.
	Briefly Lasts = iota
	// Doubling starts at half a minute and ends at a quarter of an hour.
	Doubling
	// AsAsked is the time that the server asks for.
	AsAsked
	// Forever lasts until there is another refresh token.
	Forever
)

// Failure is a refresh that failed.
type Failure struct {
	Used  string // the refresh token that was used
	Next  string // the refresh token that the next refresh would use
	Err   error
	Lasts Lasts
	After time.Duration // for AsAsked
}

func (f *failure) applies(refresh string, now int64) bool {
	return f != nil && f.refresh == refresh && (f.until == 0 || now < f.until)
}

// Failed records a failure and returns until when no refresh is tried; zero means
// until there is another refresh token.
func (k *Keeper[T]) Failed(f Failure) (until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := &failure{refresh: f.Next, err: f.Err, pauses: 1, forAll: f.Lasts != Briefly}
	if last := k.failed; last != nil && (last.refresh == f.Used || last.refresh == f.Next) {
		next.pauses = last.pauses + 1
	}
	k.failed = next
	now := time.Now()
	switch f.Lasts {
	case Forever:
		return time.Time{}
	case Doubling:
		until = now.Add(pause(firstPause, next.pauses))
	case AsAsked:
		until = now.Add(f.After)
	case Briefly:
		until = now.Add(min(pause(besidePause, next.pauses), mostBeside))
	}
	next.until = until.UnixNano()
	return until
}

// Succeeded records that there is a valid value, and whether a refresh brought it.
func (k *Keeper[T]) Succeeded(refreshed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = nil
	if refreshed {
		k.refreshed = time.Now().UnixNano()
	}
}

// Failure returns the error of the last refresh if it is too early to try again,
// or nil.
func (k *Keeper[T]) Failure(refresh string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed.applies(refresh, time.Now().UnixNano()) && k.failed.forAll {
		return k.failed.err
	}
	return nil
}

// Rejected records a refresh that an API caused by refusing the value. If the last
// one was only moments ago, it returns how long to wait instead.
func (k *Keeper[T]) Rejected() (wait time.Duration) {
	now := time.Now().UnixNano()
	interval := int64(pause(firstPause, k.rejections))
	if at := k.refreshed + int64(firstPause); now < at {
		return time.Duration(at - now)
	}
	if at := k.rejectedAt + interval; now < at {
		return time.Duration(at - now)
	}
	if now > k.rejectedAt+2*interval {
		k.rejections = 0
	}
	k.rejections++
	k.rejectedAt = now
	return 0
}

// pause returns how long to wait after that many failures in succession.
func pause(first time.Duration, failures int) time.Duration {
	return min(first<<max(0, min(failures-1, 16)), mostPause)
}
