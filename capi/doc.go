// Command capi is the C side of libloop: built with -buildmode=c-shared it is libloop.so.
//
// What crosses the boundary, and how often:
//
//	program -> C     every call of loop.h; submit.c and control.c answer without entering Go
//	C -> Go          once for each loop_run, loop_run_once, loop_wait (exports.go), not once for each turn
//	Go -> C          once a turn, with all that is ready (deliver.c), and once for each work function
//	C -> program     once for each completion, a plain call
//
// Memory: requests and mailboxes are C's and stay where they are; Go works on them in place (layout.h,
// layout.go). The engine is Go's; C holds a stand-in for it (mattn/go-pointer), used where the life of a loop
// is concerned and never on the way of a request. Operands and user data are integers to Go.
//
// No panic leaves an export: package loop turns one into LOOP_ENOTRECOVERABLE.
package main
