// Package compress makes bytes smaller where that is worth it, and says how large they may
// become again. It knows nothing of what they mean.
package compress

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/klauspost/compress/s2"
)

const (
	// minBytes is the size from which bytes are compressed. Fewer take longer, each, and have
	// less in common.
	minBytes = 1 << 10
	// worthwhile is the part that a block must save, one in so many bytes.
	worthwhile = 4
	// maxPassed bounds how many are left as they are after one that was not worth it.
	maxPassed = 64
	// maxScratch bounds the memory that is kept for the next one.
	maxScratch = 1 << 20
)

// ErrTooLarge says that a block would become larger than it may.
var ErrTooLarge = errors.New("a compressed block holds too much")

// Counts are what a Compressor was given and what became of it, in bytes.
type Counts struct{ Given, Left atomic.Uint64 }

// Compressor compresses what one goroutine at a time gives it. What cannot be made smaller, such
// as ciphertext, it learns to leave alone: each time that it was not worth it, it tries half
// as often.
type Compressor struct {
	counts  *Counts
	scratch []byte
	passing int // how many are left as they are
	pause   int // the last such number
}

// New returns a Compressor that counts in counts.
func New(counts *Counts) *Compressor { return &Compressor{counts: counts} }

// Compress returns raw as a block of S2. The block is valid until the next call. ok is false
// where raw had better stay as it is.
func (c *Compressor) Compress(raw []byte) (block []byte, ok bool) {
	if block, ok = c.compress(raw); !ok {
		c.Leave(raw)
		return nil, false
	}
	c.counts.Given.Add(uint64(len(raw)))
	c.counts.Left.Add(uint64(len(block)))
	return block, true
}

// Leave counts raw as left as it is.
func (c *Compressor) Leave(raw []byte) {
	c.counts.Given.Add(uint64(len(raw)))
	c.counts.Left.Add(uint64(len(raw)))
}

func (c *Compressor) compress(raw []byte) (block []byte, ok bool) {
	room := s2.MaxEncodedLen(len(raw))
	if len(raw) < minBytes || room < 0 {
		return nil, false
	}
	if c.passing > 0 {
		c.passing--
		return nil, false
	}
	if cap(c.scratch) < room {
		c.scratch = make([]byte, room)
	}
	block = s2.Encode(c.scratch[:cap(c.scratch)], raw)
	if cap(c.scratch) > maxScratch {
		c.scratch = nil
	}
	if len(block) > len(raw)-len(raw)/worthwhile {
		c.pause = min(max(2*c.pause, 1), maxPassed)
		c.passing = c.pause
		return nil, false
	}
	c.pause = 0
	return block, true
}

// Decompress returns what a block holds, at most limit bytes, in dst if that has room. It takes
// no more memory for a block that is damaged or hostile.
func Decompress(dst, block []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, n, limit)
	}
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	raw, err := s2.Decode(dst[:n], block)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return raw, nil
}
