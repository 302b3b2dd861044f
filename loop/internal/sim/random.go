package sim

// Random is a generator of random numbers (splitmix64), written here so that a seed means the same for ever.
type Random struct{ state uint64 }

// NewRandom returns a generator.
func NewRandom(seed uint64) Random { return Random{seed * 0x9e3779b97f4a7c15} }

// Next returns 64 random bits.
func (r *Random) Next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below returns a number from 0 to n-1.
func (r *Random) Below(n int) int { return int(r.Next() >> 33 % uint64(n)) }

// Range returns a number from a to b.
func (r *Random) Range(a, b int) int { return a + r.Below(b-a+1) }

// OneIn is true once in n times.
func (r *Random) OneIn(n int) bool { return r.Below(n) == 0 }
