package webbench

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

var rounds = flag.Int("rounds", 0, "rounds of TestBars, and 0 for none")

// TestBars holds a request through Require against the handler that reads its
// session's cookie by gorilla/securecookie. A ratio of two runs right after each
// other means something on any machine, and the median of several a little more.
func TestBars(t *testing.T) {
	if *rounds == 0 {
		t.Skip("measures only where -rounds says how often, as make bench does")
	}
	names := []string{"rival=securecookie,json", "rival=securecookie,gob", "ours,CheckStore=1m", "ours,CheckStore=0"}
	took := map[string][]float64{} // microseconds a request
	allocs := map[string]int64{}
	for range *rounds {
		for _, c := range handlers {
			h, cookies := c.make(t)
			result := testing.Benchmark(func(b *testing.B) { run(b, h, cookies) })
			took[c.name] = append(took[c.name], float64(result.NsPerOp())/1000)
			allocs[c.name] = result.AllocsPerOp()
		}
	}
	ratio := func(ours, rival string) float64 {
		var ratios []float64
		for i := range *rounds {
			ratios = append(ratios, took[ours][i]/took[rival][i])
		}
		return median(ratios)
	}
	const bar, slowest = 1.00, 20.0
	fmt.Fprintln(os.Stdout, "| a request through | µs | bar | allocations | / securecookie, json | bar | / gob |\n|---|---|---|---|---|---|---|")
	for _, name := range names {
		limits := [2]string{}
		if name == "ours,CheckStore=1m" {
			limits = [2]string{fmt.Sprintf("≤ %.0f", slowest), fmt.Sprintf("≤ %.2f×", bar)}
		}
		fmt.Fprintf(os.Stdout, "| %s | %.1f | %s | %d | %.2f× | %s | %.2f× |\n",
			name, median(took[name]), limits[0], allocs[name], ratio(name, names[0]), limits[1], ratio(name, names[1]))
	}
	fmt.Fprintf(os.Stdout, "\n%s, %s/%s, %d cores, medians of %d rounds\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *rounds)
	assert.LessOrEqual(t, ratio("ours,CheckStore=1m", names[0]), bar, "of gorilla/securecookie with JSON")
	assert.LessOrEqual(t, median(took["ours,CheckStore=1m"]), slowest, "microseconds a request")
}

func median(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
