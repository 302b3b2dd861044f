package main

/*
#include "layout.h"
*/
import "C"

import (
	"unsafe"

	"github.com/libloop/libloop/loop/request"
)

// The two sides of the shared memory must agree: an array type of another length does not fit, and stops the
// build.
var (
	_ [request.SizeofRequest]struct{}   = [C.sizeof_struct_request]struct{}{}
	_ [request.SizeofRequest]struct{}   = [C.sizeof_loop_request_t]struct{}{}
	_ [request.OffsetState]struct{}     = [unsafe.Offsetof(C.struct_request{}.state)]struct{}{}
	_ [request.OffsetCallback]struct{}  = [unsafe.Offsetof(C.struct_request{}.callback)]struct{}{}
	_ [request.OffsetOp]struct{}        = [unsafe.Offsetof(C.struct_request{}.op)]struct{}{}
	_ [request.OffsetFd]struct{}        = [unsafe.Offsetof(C.struct_request{}.fd)]struct{}{}
	_ [request.OffsetAddress]struct{}   = [unsafe.Offsetof(C.struct_request{}.address)]struct{}{}
	_ [request.OffsetDeadline]struct{}  = [unsafe.Offsetof(C.struct_request{}.deadline_ns)]struct{}{}
	_ [request.OffsetControl]struct{}   = [unsafe.Offsetof(C.struct_request{}.control_next)]struct{}{}
	_ [request.OffsetOwner]struct{}     = [unsafe.Offsetof(C.struct_request{}.owner)]struct{}{}
	_ [request.OffsetNewEvents]struct{} = [unsafe.Offsetof(C.struct_request{}.new_events)]struct{}{}
	_ [request.OffsetMode]struct{}      = [unsafe.Offsetof(C.struct_request{}.mode)]struct{}{}
	_ [request.OffsetEvents]struct{}    = [unsafe.Offsetof(C.struct_request{}.events)]struct{}{}
	_ [request.OffsetTimeoutAt]struct{} = [unsafe.Offsetof(C.struct_request{}.timeout_at_ns)]struct{}{}

	_ [request.OffsetMarks]struct{}  = [unsafe.Offsetof(C.struct_request{}.marks)]struct{}{}
	_ [request.MarkReleased]struct{} = [C.MARK_RELEASED]struct{}{}

	_ [request.OffsetStrand]struct{}     = [unsafe.Offsetof(C.struct_request{}.strand)]struct{}{}
	_ [request.OffsetInStrand]struct{}   = [unsafe.Offsetof(C.struct_request{}.in_strand)]struct{}{}
	_ [request.OffsetMessage]struct{}    = [unsafe.Offsetof(C.struct_request{}.message)]struct{}{}
	_ [request.OffsetOwnMessage]struct{} = [unsafe.Offsetof(C.struct_request{}.own_message)]struct{}{}
	_ [request.OffsetControlLen]struct{} = [unsafe.Offsetof(C.struct_message{}.control_length)]struct{}{}

	_ [request.SizeofPool]struct{}   = [C.sizeof_struct_loop_buffers]struct{}{}
	_ [request.OffsetUsers]struct{}  = [unsafe.Offsetof(C.struct_loop_buffers{}.users)]struct{}{}
	_ [request.SizeofBuffer]struct{} = [C.sizeof_struct_buffer]struct{}{}
	_ [request.SizeofShare]struct{}  = [C.sizeof_struct_share]struct{}{}
	_ [request.PoolSlots]struct{}    = [C.POOLS]struct{}{}

	_ [request.SizeofMailbox]struct{}   = [C.sizeof_struct_mailbox]struct{}{}
	_ [request.OffsetSleeping]struct{}  = [unsafe.Offsetof(C.struct_mailbox{}.sleeping)]struct{}{}
	_ [request.OffsetWakers]struct{}    = [unsafe.Offsetof(C.struct_mailbox{}.wakers)]struct{}{}
	_ [request.OffsetBusy]struct{}      = [unsafe.Offsetof(C.struct_mailbox{}.busy)]struct{}{}
	_ [request.OffsetLocalHead]struct{} = [unsafe.Offsetof(C.struct_mailbox{}.local_head)]struct{}{}
	_ [request.OffsetDelivered]struct{} = [unsafe.Offsetof(C.struct_mailbox{}.delivered)]struct{}{}
	_ [request.OffsetReady]struct{}     = [unsafe.Offsetof(C.struct_mailbox{}.ready_head)]struct{}{}
	_ [request.OffsetRing]struct{}      = [unsafe.Offsetof(C.struct_mailbox{}.ring)]struct{}{}
	_ [request.OffsetRingTail]struct{}  = [unsafe.Offsetof(C.struct_ring{}.tail)]struct{}{}
	_ [request.OffsetRingSlots]struct{} = [unsafe.Offsetof(C.struct_ring{}.slots)]struct{}{}
	_ [request.OffsetResumed]struct{}   = [unsafe.Offsetof(C.struct_ring{}.resumed)]struct{}{}
	_ [request.OffsetLease]struct{}     = [unsafe.Offsetof(C.struct_ring{}.lease)]struct{}{}

	_ [request.SizeofStrand]struct{} = [C.sizeof_struct_strand]struct{}{}
	_ [request.SizeofStrand]struct{} = [C.sizeof_loop_strand_t]struct{}{}
	_ [request.OffsetLender]struct{} = [unsafe.Offsetof(C.struct_strand{}.lender)]struct{}{}
	_ [request.StrandHeld]struct{}   = [C.STRAND_HELD]struct{}{}
	_ [request.StrandLent]struct{}   = [C.STRAND_LENT]struct{}{}
	_ [request.StrandJoined]struct{} = [C.STRAND_JOINED]struct{}{}
	_ [request.StrandKind]struct{}   = [C.STRAND_KIND]struct{}{}

	_ [request.SizeofShared]struct{}     = [C.sizeof_struct_shared]struct{}{}
	_ [request.OffsetReferenced]struct{} = [unsafe.Offsetof(C.struct_shared{}.referenced)]struct{}{}
	_ [request.OffsetHarvest]struct{}    = [unsafe.Offsetof(C.struct_shared{}.harvest)]struct{}{}
	_ [request.OffsetThreads]struct{}    = [unsafe.Offsetof(C.struct_shared{}.threads)]struct{}{}
	_ [request.OffsetRunning]struct{}    = [unsafe.Offsetof(C.struct_shared{}.running)]struct{}{}
)
