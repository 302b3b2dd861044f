package sys

import _ "unsafe" // for go:linkname

// nanotime is the monotonic clock of the runtime: CLOCK_MONOTONIC read through the vDSO, without a system
// call. x/sys has only the system call, and package time only a clock with another origin; timers need the
// one that the C side reads when it computes a deadline.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

// Relax implements Kernel.
func (Linux) Relax() {
	const pauses = 4
	procyield(pauses)
}

//go:linkname procyield runtime.procyield
func procyield(cycles uint32)
