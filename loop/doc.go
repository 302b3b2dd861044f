// Package loop is an event loop: the engine behind the C library libloop, usable from Go by itself.
//
// A Loop runs requests. A Request is memory of the caller; it is submitted, completes exactly once (or, with
// several shots, until it is cancelled), and may be submitted again. One turn of a worker is
//
//	drain the mailbox -> deadlines -> ticks -> start operations -> wait in the kernel -> deliver
//
// and each of these steps is a method of worker (worker.go, intake.go). What a worker knows about descriptors
// and files is behind backend.Backend. Where the callbacks live is behind Host: package capi delivers to C,
// program (loop.go) to Go functions.
//
// Files: loop.go and submit.go are the face for Go programs; engine.go is the life of a loop, threads.go its
// threads, worker.go and intake.go the turn.
package loop
