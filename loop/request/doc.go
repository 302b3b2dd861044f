// Package request holds the memory that a program and its loop share: requests, and the mailboxes through
// which they travel.
//
// A C program fills this memory through capi, a Go program through package loop; the engine works on it in
// place. The layout is therefore fixed (capi/layout.h mirrors it, and the build fails when the two differ),
// and all that one side may change while the other looks is atomic. No field holds a Go pointer when the
// memory is C's: links between requests point from C memory to C memory, and the operands are plain
// integers, so nothing here concerns the garbage collector.
package request
