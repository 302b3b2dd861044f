package loop

// DeepenStack makes the stack of the calling goroutine at least 64 KiB deep. The host of a C library
// calls it, on its thread, before it runs a loop: while that thread is in Go code its stack pointer is on
// the goroutine's stack, which begins with 4 KiB, and a signal handler of the host that was installed
// without SA_ONSTACK runs right below it. (The library is built with gcshrinkstackoff=1, so the stack
// stays deep.)
func DeepenStack()
