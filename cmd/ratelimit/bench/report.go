package bench

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is a run as programs read it. Of each figure there is one per round,
// and the report has their median, the least and the greatest.
type Report struct {
	Setup    Setup    `json:"setup"`
	Service  Figures  `json:"service"`
	Baseline *Figures `json:"baseline,omitempty"`

	// Ratios are those of neighboring rounds, service to baseline.
	Ratios *Ratios `json:"ratios,omitempty"`

	// PacerLate says by how many microseconds checks of an open loop went out
	// late because of the generator itself.
	PacerLate *Percentiles `json:"pacer_late_us,omitempty"`

	// Processor time per check of the service, in microseconds.
	RedisCPU  float64 `json:"redis_cpu_us_per_check,omitempty"`
	WorkerCPU float64 `json:"worker_cpu_us_per_check,omitempty"`

	Admission Verdict `json:"admission"`

	// Interrupted is true of a run that was ended early.
	Interrupted bool `json:"interrupted,omitempty"`
}

// Setup says what was run.
type Setup struct {
	Client       string       `json:"client"`
	Concurrency  int          `json:"concurrency"`
	Connections  int          `json:"connections"`
	Rate         float64      `json:"rate,omitempty"` // per second; 0: closed loop
	Keys         int          `json:"keys"`
	Distribution Distribution `json:"distribution"`
	Skew         float64      `json:"skew,omitempty"`
	Cost         int64        `json:"cost"`
	Limit        string       `json:"limit,omitempty"`
	Rounds       int          `json:"rounds"`
	RoundSeconds float64      `json:"round_seconds"`
}

// Figures are those of one of the two sides.
type Figures struct {
	PerSecond Spread           `json:"checks_per_second"`
	Latency   Latencies        `json:"latency_us"`
	Counts    Counts           `json:"counts"`
	Errors    map[string]int64 `json:"errors,omitempty"`

	// All is every latency of all rounds.
	All *hdrhistogram.Histogram `json:"-"`
}

// Latencies are in microseconds.
type Latencies struct {
	P50  Spread `json:"p50"`
	P90  Spread `json:"p90"`
	P99  Spread `json:"p99"`
	P999 Spread `json:"p99.9"`
	Max  Spread `json:"max"`
}

// Ratios are figures of the service divided by those of the baseline.
type Ratios struct {
	PerSecond Spread `json:"checks_per_second"`
	P50       Spread `json:"p50"`
	P99       Spread `json:"p99"`
}

// Percentiles are in microseconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Spread is one figure over all rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the spread of values, which it puts into order.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}

// NewReport makes a report of what a plan came to.
func NewReport(setup Setup, o *Outcome, v Verdict) *Report {
	r := &Report{
		Setup:     setup,
		Service:   figuresOf(o.Target),
		Admission: v,
		RedisCPU:  micros(o.Redis),
		WorkerCPU: micros(o.Worker),
	}
	if setup.Rate > 0 {
		late := newHistogram()
		for _, round := range o.Target {
			late.Merge(round.Late)
		}
		r.PacerLate = &Percentiles{P50: at(late, 50), P99: at(late, 99), Max: at(late, 100)}
	}
	if len(o.Baseline) > 0 {
		f := figuresOf(o.Baseline)
		r.Baseline = &f
		r.Ratios = &Ratios{
			PerSecond: ratiosOf(o, func(r *Round) float64 { return r.PerSecond }),
			P50:       ratiosOf(o, func(r *Round) float64 { return at(r.Latency, 50) }),
			P99:       ratiosOf(o, func(r *Round) float64 { return at(r.Latency, 99) }),
		}
	}
	return r
}

func figuresOf(rounds []*Round) Figures {
	f := Figures{All: newHistogram(), Errors: make(map[string]int64)}
	each := func(figure func(*Round) float64) Spread {
		var values []float64
		for _, r := range rounds {
			values = append(values, figure(r))
		}
		return SpreadOf(values)
	}
	percentile := func(p float64) Spread {
		return each(func(r *Round) float64 { return at(r.Latency, p) })
	}
	for _, r := range rounds {
		f.All.Merge(r.Latency)
		f.Counts.add(&r.Counts)
		for code, n := range r.Errors {
			f.Errors[code] += n
		}
	}
	f.PerSecond = each(func(r *Round) float64 { return r.PerSecond })
	f.Latency = Latencies{P50: percentile(50), P90: percentile(90), P99: percentile(99), P999: percentile(99.9), Max: percentile(100)}
	return f
}

// ratiosOf divides each round by its neighbor.
func ratiosOf(o *Outcome, figure func(*Round) float64) Spread {
	var values []float64
	for i := range min(len(o.Target), len(o.Baseline)) {
		if b := figure(o.Baseline[i]); b > 0 {
			values = append(values, figure(o.Target[i])/b)
		}
	}
	return SpreadOf(values)
}

// at returns a percentile in microseconds.
func at(h *hdrhistogram.Histogram, percentile float64) float64 {
	return micros(time.Duration(h.ValueAtPercentile(percentile)))
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
