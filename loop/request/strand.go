package request

import (
	"sync/atomic"
	"unsafe"
)

// Strand serializes the callbacks of the requests that refer to it, in a loop of several threads. It is
// the program's memory, of which loop.h says: keep it while requests refer to it. The last of these may
// end the strand in its callback, so whoever calls that cannot look at the strand afterwards.
//
// One thread holds a strand at a time: it has the strand's next request, called its runner, in a ring or
// in its hands. Requests that become ready meanwhile join the holder and wait in a list. The word says
// which:
//
//	0                 free: nobody holds it, nothing waits
//	StrandHeld        held, nothing waits
//	address           held; the newest request that waits, the others linked to it through Next
//	number<<2 | Lent  lent: as held, but the holder runs a callback that may end the strand
//
// A holder that lends the strand during a callback leaves the number of a lease, used once in the life of
// the process, in the word, and the same word as the lease of its own mailbox, which is the loop's memory.
// After the callback it ends the lease there, and does not look at the strand. Who finds a lease in the word
// marks it there (StrandJoined) if it has not ended: then the holder has to look at the strand after all, and
// may, for a request is about to wait in it. If the lease has ended, the strand is free.
//
// join is here because the engine fills the rings; the holder's part is in capi/strand.c.
type Strand struct {
	word   atomic.Uint64
	lender atomic.Uintptr // address of the lease that the word names; the holder writes it
	_      uintptr        // the holder's
	_      [5]uint64
}

// What the low bits of a word say.
const (
	StrandHeld   = 1
	StrandLent   = 2
	StrandJoined = 3 // of a lease
	StrandKind   = 3 // the bits
)

// strand returns the strand of a request that has one.
func (r *Request) strand() *Strand {
	return (*Strand)(Pointer(r.Strand))
}

// join gives a ready request to its strand. True: the strand was free, and the request is its runner.
// False: it waits, and is the holder's from then on.
func (s *Strand) join(r *Request) (runner bool) {
	for {
		word := s.word.Load()
		switch {
		case word == 0, word&StrandKind == StrandLent && !s.extend(word):
			if s.word.CompareAndSwap(word, StrandHeld) {
				return true
			}
			continue
		case word&StrandKind == 0:
			r.Next = (*Request)(Pointer(uintptr(word)))
		default:
			r.Next = nil
		}
		if s.word.CompareAndSwap(word, uint64(uintptr(unsafe.Pointer(r)))) {
			return false
		}
	}
}

// extend has the holder look at the strand after the callback that it lent the strand for; false if that is
// over. If the word changed meanwhile the lender may not be that of the word; as no lease has the same word
// as another, nothing is marked then, and the swap of the word that follows fails.
func (s *Strand) extend(word uint64) bool {
	lease := (*atomic.Uint64)(Pointer(s.lender.Load()))
	return lease.CompareAndSwap(word, word|StrandJoined) || lease.Load() == word|StrandJoined
}
