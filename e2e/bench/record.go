package main

import (
	"fmt"
	"time"
)

// record is a piece of the benchmark as it is stored: what was measured, where and how. One of Result and Path is set, or
// neither if only LeftOut is.
type record struct {
	size
	Contestant string // empty for the data path, for which all share a kernel
	Round      int    // from 1
	Origin     origin
	Result     *measurement `json:",omitempty"`
	Path       *dataPath    `json:",omitempty"`
}

// pathName stands for all contestants in the names of records of the data path.
const pathName = "path"

// name tells the record from all others.
func (r record) name() string {
	who := r.Contestant
	if who == "" {
		who = pathName
	}
	return fmt.Sprintf("%s-%s-%d", r.size, who, r.Round)
}

// origin is where, when and of what a record was made.
type origin struct {
	Begun    time.Time
	Took     time.Duration
	Machine  string            // the host's processors
	Load     string            // the host's load averages at the beginning
	Kernel   string            // that was measured on, as uname has it
	Programs map[string]string // version of each program that ran
	Options  string            // flags that say what to measure
}

// measurement is what one contestant did in one round.
type measurement struct {
	Cold   start
	Warm   start
	Single load // changes one by one
	Burst  load
	Stream load
	Steady idle
	Quiet  idle // the same without audits; this project's only
	Memory memory
	Traced traced
	Failed []string // what could not be measured, and why
}

// memory is what is resident, in KiB, when all the changes are over and after a while with nothing to do, and the most there was.
type memory struct{ Settled, Most int }

// start is one start of the program.
type start struct {
	Took       time.Duration // from the process's start until everything is in the kernel
	CPU        time.Duration
	Rounds     time.Duration // of the daemon, as it says: translating, planning and writing
	Operations int           // in the round that completed, as the daemon says
}

// load is what many changes at once, or one after the other, cost.
type load struct {
	Changes int             // Services changed
	Lags    []time.Duration // from the write of what was looked at to the kernel
	CPU     time.Duration   // of all
	Heap    heap            // of all
}

// heap is what a Go program has taken from its heap.
type heap struct{ Objects, Bytes float64 }

// idle is what nothing to do costs.
type idle struct {
	Lasted  time.Duration
	CPU     time.Duration
	Wakeups int // times that a thread gave up the processor by itself
}

// traced is what strace saw.
type traced struct {
	Changes int // of each kind, in one trace
	Restart trace
	Added   trace
	Removed trace
}

// dataPath is what packets saw in one kernel that every contestant has a node in.
type dataPath struct {
	Flows   []flow
	LeftOut map[string]string // contestants that could not be measured, and why
}

// flow is one run of a contestant, one way.
type flow struct {
	Contestant string
	Way        kinds // direct or throughVIP
	Run        int   // those of one number were made right after each other
	Connects   int   // that came about
	Failed     int   // that did not
	PerSecond  float64
	Median     time.Duration // of a connect
	P99        time.Duration
	Packets    float64 // each second, both directions
}
