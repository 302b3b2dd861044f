package sim

import "github.com/libloop/libloop/loop/internal/sys"

const (
	pageSize    = 64 // of the page cache
	longestFile = 1 << 16
)

// inode is a regular file.
type inode struct {
	path    string
	content []byte
	cold    map[int]bool // pages that are not in memory
}

// regular is an inode that is open.
type regular struct {
	kernel   *Kernel
	inode    *inode
	position int64
	direct   bool
}

func (f *regular) state() uint32 { return sys.EpollIn | sys.EpollOut }
func (f *regular) release()      {}

// place returns the offset of a transfer: the position if it names none.
func (f *regular) place(offset int64) int64 {
	if offset < 0 {
		return f.position
	}
	return offset
}

// readable returns how many bytes a patient read would find.
func (f *regular) readable(t *transfer) int64 {
	return max(0, min(int64(total(t.spans)), int64(len(f.inode.content))-f.place(t.offset)))
}

// read reads what is in memory; EAGAIN: the first byte is not.
func (f *regular) read(_ *Description, to []span, offset int64) int64 {
	from, n := f.place(offset), f.readable(&transfer{spans: to, offset: offset})
	if f.kernel.strikes(ColdPages) {
		f.inode.cold[int(from)/pageSize+f.kernel.random.Below(2)] = true
	}
	for at := from; at < from+n; at += pageSize - at%pageSize {
		if f.inode.cold[int(at)/pageSize] {
			n = at - from
			if n == 0 {
				return sys.EAGAIN
			}
		}
	}
	return f.move(to, offset, n)
}

func (f *regular) move(to []span, offset, n int64) int64 {
	from := f.place(offset)
	if n > 0 {
		n = int64(f.kernel.short(int(n)))
	}
	at, left := from, int(n)
	for _, s := range to {
		part := min(s.length, left)
		if part == 0 {
			continue
		}
		copy(s.bytes()[:part], f.inode.content[at:])
		at += int64(part)
		left -= part
	}
	if offset < 0 {
		f.position += n
	}
	return n
}

// readPatiently reads from the disk.
func (f *regular) readPatiently(to []span, offset int64) int64 {
	from, n := f.place(offset), f.readable(&transfer{spans: to, offset: offset})
	for at := from; at < from+n; at += pageSize - at%pageSize {
		delete(f.inode.cold, int(at)/pageSize)
	}
	return f.move(to, offset, n)
}

func (f *regular) write(_ *Description, from []span, offset int64) int64 {
	n := total(from)
	place := f.place(offset)
	if n > 0 {
		n = f.kernel.short(n)
	}
	if place+int64(n) > longestFile {
		return -27 // EFBIG
	}
	for int64(len(f.inode.content)) < place+int64(n) {
		f.inode.content = append(f.inode.content, 0)
	}
	copy(f.inode.content[place:], gather(nil, from, n))
	if offset < 0 {
		f.position += int64(n)
	}
	return int64(n)
}
