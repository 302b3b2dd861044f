// Package epoll is the backend on Linux's epoll: readiness, turned into completions.
//
// What this kernel interface gets wrong, and how we cope:
//
//   - A registration belongs to the open file, not to the descriptor. When a descriptor is closed while a
//     duplicate lives on, events for it keep coming and cannot be switched off. So every registration is
//     disarmed by its first event (EPOLLONESHOT; edge-triggered watches apart), and carries a generation: an
//     event whose generation is not that of the table entry is counted and dropped.
//   - A descriptor closed by the program silently loses its registration, and its number comes back with
//     another file. So nothing is believed about a descriptor that had no waiter: the first waiter re-arms it
//     with EPOLL_CTL_MOD, which the kernel refuses (ENOENT) when the file is not the registered one. The
//     same call makes the kernel look at the present state, so a wait for what is already there completes.
//   - One registration serves both directions. So it asks for the union of what its waiters want, and is
//     re-armed for those who are left after an event.
//   - Regular files are refused (EPERM). They are always ready for a wait; reads and writes that would block
//     go to the pool. No descriptor is asked for its type: the refusal is the answer.
//   - The number of registrations is limited (ENOSPC). Then poll(2) watches the descriptor, on a thread of
//     its own.
//   - A signalled eventfd, registered edge-triggered, wakes once for each signal and need not be read.
//
// Reads and writes are tried at once, with RWF_NOWAIT: what is in the page cache, the pipe or the socket
// never waits for anything.
package epoll
