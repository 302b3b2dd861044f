package request

// List is a first-in first-out list of requests, linked through Next and Prev. The zero value is empty. It
// allocates nothing; a request is in one list at a time.
type List struct {
	head, tail *Request
}

// Empty reports whether the list has no request.
func (l *List) Empty() bool { return l.head == nil }

// Len counts the requests.
func (l *List) Len() (n int64) {
	for r := l.head; r != nil; r = r.Next {
		n++
	}
	return n
}

// First returns the oldest request, or nil.
func (l *List) First() *Request { return l.head }

// Push appends a request.
func (l *List) Push(r *Request) {
	r.Next, r.Prev = nil, l.tail
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.Next = r
	}
	l.tail = r
}

// PushFront puts a request before all others.
func (l *List) PushFront(r *Request) {
	r.Next, r.Prev = l.head, nil
	if l.head == nil {
		l.tail = r
	} else {
		l.head.Prev = r
	}
	l.head = r
}

// Pop removes and returns the oldest request, or nil.
func (l *List) Pop() *Request {
	r := l.head
	if r != nil {
		l.Remove(r)
	}
	return r
}

// Remove takes a request out of the list it is in.
func (l *List) Remove(r *Request) {
	if r.Prev == nil {
		if l.head != r {
			panic("request: removed from a list that it is not in")
		}
		l.head = r.Next
	} else {
		r.Prev.Next = r.Next
	}
	if r.Next == nil {
		l.tail = r.Prev
	} else {
		r.Next.Prev = r.Prev
	}
	r.Next, r.Prev = nil, nil
}

// Append moves all requests of other to the end of the list.
func (l *List) Append(other *List) {
	if other.head == nil {
		return
	}
	if l.tail == nil {
		l.head = other.head
	} else {
		l.tail.Next, other.head.Prev = other.head, l.tail
	}
	l.tail = other.tail
	*other = List{}
}

// Take empties the list and returns its first request, the others linked to it through Next.
func (l *List) Take() *Request {
	head := l.head
	*l = List{}
	return head
}
