// Package uring is the backend on Linux's io_uring: completions, submitted and collected in batches.
//
// What this kernel interface gets wrong, and how we cope:
//
//   - Completions of what had to wait are made by the thread that submitted it, which the kernel interrupts
//     for that unless told not to. The ring is set up to be left alone (IORING_SETUP_COOP_TASKRUN): the work
//     is done when the thread is in the kernel anyway, and a flag in the ring says that some is left. The
//     stricter IORING_SETUP_DEFER_TASKRUN, which binds the ring to one thread for ever, measures the same;
//     but a loop may be run by one thread after the other, and be ended by a third.
//     Loops that promise not to (LOOP_THREAD_BOUND) have it.
//   - When a thread ends, what it submitted is cancelled. So a cancellation that nobody asked for is not a
//     result: the request is submitted again. This also serves to change the events of a poll.
//   - The queues are short, and the kernel may refuse to take submissions (EAGAIN, EBUSY) or take some only.
//     What finds no place waits in the backlog; what the kernel has taken is read from the ring, never from
//     the result of a call. Completions that find their queue full are kept by the kernel, until an enter.
//   - Non-blocking files without support for it answer EAGAIN: such a transfer waits for readiness first.
//   - An open is tried without blocking, O_NONBLOCK and all, so the open of a FIFO does not wait for the
//     other end. Those are opened again, by the pool.
//   - A transfer at the current position of a file that moves some bytes and then meets an error leaves the
//     position where it was. Those are calls, and the pool's when they would block.
//   - A send of a datagram that finds no room is tried again by the kernel with what is left of its vector,
//     which may be nothing. So sends carry MSG_DONTWAIT, and are submitted again when there is room.
//   - A receive of many shots that is told to wait first (IORING_RECVSEND_POLL_FIRST) does not look behind
//     the first bytes, and misses the end that is there. It waits first only for want of a buffer, and then
//     begins again after the first shot.
//   - Transfers at an offset do not fail on pipes. One look per descriptor number tells pipes from files.
//   - What has no opcode goes to the pool.
//
// Nothing is registered: between two requests the kernel knows nothing of a descriptor, so one that is closed
// and comes back with another file needs no care. A request in flight is known by its address, which cannot
// be another's before the kernel has given it back: each submission of a request has one last completion,
// and the request ends with that and not before.
package uring
