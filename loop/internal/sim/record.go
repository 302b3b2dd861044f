package sim

import "github.com/libloop/libloop/loop/internal/sys"

// Record is what the kernel did, for a checker.
type Record struct {
	Sequence func() uint64 // of now: it grows with all that happens

	sequence uint64
	errnos   map[errnoOf]uint64
	reads    map[uintptr]Piece
}

type errnoOf struct {
	fd    int
	errno int64
}

// Piece is a part of a channel that was read into memory.
type Piece struct {
	Channel  *Channel
	Position int
	Length   int
}

func (r *Record) init(*Kernel) {
	r.Sequence = func() uint64 { return r.sequence }
	r.errnos = make(map[errnoOf]uint64)
	r.reads = make(map[uintptr]Piece)
}

// note keeps the error of a call on a descriptor, and returns the result.
func (r *Record) note(fd int, result int64) int64 {
	if result < 0 {
		r.sequence++
		r.errnos[errnoOf{fd, result}] = r.sequence
	}
	return result
}

// Failed reports whether a call on a descriptor failed with an errno after a moment. Errors that are about no
// descriptor are those of -1.
func (r *Record) Failed(fd int, errno int64, after uint64) bool {
	return r.errnos[errnoOf{fd, errno}] > after
}

// Trouble reports whether a call on a descriptor failed after a moment, other than for want of readiness.
func (r *Record) Trouble(fd int, after uint64) bool {
	for key, at := range r.errnos {
		if key.fd == fd && at > after && key.errno != sys.EAGAIN {
			return true
		}
	}
	return false
}

// consumed notes that bytes of a channel went to an address.
func (r *Record) consumed(c *Channel, position int, address uintptr, n int) {
	if n > 0 {
		r.reads[address] = Piece{c, position, n}
	}
}

// TakeRead returns and forgets what was read to an address and behind it, up to a length, in pieces.
func (r *Record) TakeRead(address uintptr, length int) (pieces []Piece) {
	for length > 0 {
		piece, ok := r.reads[address]
		if !ok {
			break
		}
		delete(r.reads, address)
		pieces = append(pieces, piece)
		address += uintptr(piece.Length)
		length -= piece.Length
	}
	return pieces
}
