// Package fdtable maps descriptor numbers to what a backend knows of them.
package fdtable

const chunkSize = 256

// Table maps descriptor numbers to entries of type E. It grows to the highest descriptor seen, in chunks, so
// entries never move. The zero value is empty.
type Table[E any] struct {
	chunks []*[chunkSize]E
}

// Find returns the entry of a descriptor, or nil if there is none for it and its neighbours.
func (t *Table[E]) Find(fd int64) *E {
	if fd < 0 || fd/chunkSize >= int64(len(t.chunks)) || t.chunks[fd/chunkSize] == nil {
		return nil
	}
	return &t.chunks[fd/chunkSize][fd%chunkSize]
}

// Get returns the entry of a descriptor and makes it if there is none. The descriptor is known to be open, so
// its number is not absurd.
func (t *Table[E]) Get(fd int64) *E {
	for fd/chunkSize >= int64(len(t.chunks)) {
		t.chunks = append(t.chunks, nil)
	}
	if t.chunks[fd/chunkSize] == nil {
		t.chunks[fd/chunkSize] = new([chunkSize]E)
	}
	return &t.chunks[fd/chunkSize][fd%chunkSize]
}

// Each calls visit with every entry.
func (t *Table[E]) Each(visit func(*E)) {
	for _, chunk := range t.chunks {
		if chunk == nil {
			continue
		}
		for i := range chunk {
			visit(&chunk[i])
		}
	}
}
