package request

import "unsafe"

// Layout is what capi/layout.go compares with the C structs. Each number is a size or an offset in bytes.
const (
	SizeofRequest    = unsafe.Sizeof(Request{})
	OffsetState      = unsafe.Offsetof(Request{}.state)
	OffsetCallback   = unsafe.Offsetof(Request{}.callback)
	OffsetOp         = unsafe.Offsetof(Request{}.Op)
	OffsetEvents     = unsafe.Offsetof(Request{}.Events)
	OffsetFd         = unsafe.Offsetof(Request{}.Fd)
	OffsetAddress    = unsafe.Offsetof(Request{}.Address)
	OffsetDeadline   = unsafe.Offsetof(Request{}.Deadline)
	OffsetControl    = unsafe.Offsetof(Request{}.controlNext)
	OffsetOwner      = unsafe.Offsetof(Request{}.Owner)
	OffsetNewEvents  = unsafe.Offsetof(Request{}.newEvents)
	OffsetMode       = unsafe.Offsetof(Request{}.Mode)
	OffsetTimeoutAt  = unsafe.Offsetof(Request{}.TimeoutAt)
	SizeofMailbox    = unsafe.Sizeof(Mailbox{})
	OffsetSleeping   = unsafe.Offsetof(Mailbox{}.sleeping)
	OffsetBusy       = unsafe.Offsetof(Mailbox{}.busy)
	OffsetLocalHead  = unsafe.Offsetof(Mailbox{}.localHead)
	OffsetReady      = unsafe.Offsetof(Mailbox{}.Ready)
	OffsetDelivered  = unsafe.Offsetof(Mailbox{}.delivered)
	OffsetRing       = unsafe.Offsetof(Mailbox{}.Ring)
	OffsetRingTail   = unsafe.Offsetof(Ring{}.tail)
	OffsetRingSlots  = unsafe.Offsetof(Ring{}.slots)
	SizeofShared     = unsafe.Sizeof(Shared{})
	OffsetReferences = unsafe.Offsetof(Shared{}.references)
	OffsetHarvest    = unsafe.Offsetof(Shared{}.harvest)
	OffsetThreads    = unsafe.Offsetof(Shared{}.threads)
	OffsetRunning    = unsafe.Offsetof(Shared{}.running)
)
