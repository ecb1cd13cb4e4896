package refreshing

import "time"

const (
	firstPause  = 30 * time.Second // before something that failed is tried again, doubled each time
	mostPause   = 15 * time.Minute
	besidePause = 5 * time.Second // the same for a refresh that nobody waits for
	mostBeside  = time.Minute
)

// failures is what a [Keeper] remembers of refreshes, lest they be sent again
// and again.
type failures struct {
	failed *failure // the last one, nil where it went well

	// Of the refresh under way alone, in nanoseconds of the wall clock:
	refreshed  int64 // the last time
	rejections int   // refreshes that an API's refusal caused, one soon after the other
	rejectedAt int64
}

type failure struct {
	refresh string // what the value is refreshed with; another one is tried at once
	err     error
	until   int64 // 0: until another one is there
	pauses  int   // one after the other
	held    bool  // also where no value is at hand that would do
}

// Lasts says for how long a failed refresh is not tried again.
type Lasts int

const (
	// Briefly is for what may pass at any moment: it keeps those back alone who
	// have a value at hand.
	Briefly Lasts = iota
	// Doubling is from half a minute to a quarter of an hour.
	Doubling
	// AsAsked is as long as the server asks for.
	AsAsked
	// Forever is until the value is another.
	Forever
)

// Failure is a refresh that failed.
type Failure struct {
	Used  string // what it was tried with
	Next  string // what the next one would be tried with
	Err   error
	Lasts Lasts
	After time.Duration // for AsAsked
}

func (f *failure) holds(refresh string, now int64) bool {
	return f != nil && f.refresh == refresh && (f.until == 0 || now < f.until)
}

// Failed notes a failure and returns until when it holds, zero for ever.
func (k *Keeper[T]) Failed(f Failure) (until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := &failure{refresh: f.Next, err: f.Err, pauses: 1, held: f.Lasts != Briefly}
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

// Succeeded notes that there is a value, and whether a refresh brought it.
func (k *Keeper[T]) Succeeded(refreshed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = nil
	if refreshed {
		k.refreshed = time.Now().UnixNano()
	}
}

// Failure returns the error of a refresh that is not to be tried again yet, nil
// where it may be.
func (k *Keeper[T]) Failure(refresh string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed.holds(refresh, time.Now().UnixNano()) && k.failed.held {
		return k.failed.err
	}
	return nil
}

// Rejected notes that a refresh is due because an API rejected the value, and
// returns how long to wait instead where that was so moments ago.
func (k *Keeper[T]) Rejected() (wait time.Duration) {
	now := time.Now().UnixNano()
	hold := int64(pause(firstPause, k.rejections))
	if at := k.refreshed + int64(firstPause); now < at {
		return time.Duration(at - now)
	}
	if at := k.rejectedAt + hold; k.rejections > 0 && now < at {
		return time.Duration(at - now)
	}
	if now > k.rejectedAt+2*hold {
		k.rejections = 0
	}
	k.rejections++
	k.rejectedAt = now
	return 0
}

// pause is how long to wait after so many failures, one after the other.
func pause(first time.Duration, failures int) time.Duration {
	return min(first<<max(0, min(failures-1, 16)), mostPause)
}
