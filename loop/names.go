package loop

import (
	"unsafe"

	"github.com/libloop/libloop/loop/backend/pool"
	"github.com/libloop/libloop/loop/internal/sys"
	"github.com/libloop/libloop/loop/request"
)

// A look-up of names is two requests: the program's, and its proxy, a request in memory of the host that also
// holds copies of all that the look-up needs. Only the proxy goes to the blocking pool. So the program's
// request can end at once while the resolver is stuck; the proxy then is abandoned, and freed when the pool
// gives it back.
//
// Request.Address of each is the other one; 0 in a proxy that is abandoned, and in a request for whose
// proxy there was no memory.

// peer returns the proxy of a look-up, or the look-up of a proxy, or nil.
func peer(r *request.Request) *request.Request {
	return (*request.Request)(request.Pointer(r.Address))
}

// startLookup begins a look-up.
func (w *worker) startLookup(r *request.Request) {
	proxy := peer(r)
	if proxy == nil {
		w.finish(&w.completed, r, sys.ENOMEM)
		return
	}
	w.lookups.Push(r)
	proxy.Address = uintptr(unsafe.Pointer(r))
	proxy.Move(request.Start)
	w.engine.pool.Submit(pool.Names, proxy)
}

// takeBackLookup handles a proxy that the pool is done with.
func (w *worker) takeBackLookup(proxy *request.Request) {
	r := peer(proxy)
	refused := proxy.Result // or 0; Settle frees the proxy
	result := w.engine.host.Settle(proxy, r)
	if refused < 0 {
		result = refused
	}
	if r != nil {
		w.lookups.Remove(r)
		w.finish(&w.completed, r, result)
	}
}

// cancelLookup ends a look-up now, whatever the resolver does.
func (w *worker) cancelLookup(r *request.Request) {
	proxy := peer(r)
	w.lookups.Remove(r)
	proxy.Address = 0
	if w.engine.pool.Cancel(pool.Names, proxy) {
		w.engine.host.Settle(proxy, nil)
	}
	w.finish(&w.completed, r, sys.ECANCELED)
}

// dropLookup frees what a request that ends before it was started holds, if it is a look-up.
func (w *worker) dropLookup(r *request.Request) {
	if r.Op != request.OpName {
		return
	}
	if proxy := peer(r); proxy != nil {
		w.engine.host.Settle(proxy, nil)
	}
}

// sweepLookups frees the abandoned proxies that came back after the last turn. The pool is closed, and
// nothing else is in flight.
func (w *worker) sweepLookups() {
	for proxy := w.mailbox.TakeInbox(); proxy != nil; {
		next := proxy.Next
		w.engine.host.Settle(proxy, nil)
		proxy = next
	}
}
