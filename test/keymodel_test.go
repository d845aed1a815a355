package test

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// keyOp is what happens to a key. A write that ends it, a rotation without overlap
// or a revocation, is two operations over the same time: ending and ended. A use
// that falls between the two may go either way, for nodes apply one entry at
// different moments; but once the write is answered no node may accept the key.
type keyOp uint8

const (
	keyMade keyOp = iota
	keyEnding
	keyEnded
	keyUsed
)

// keyOutcome is how a keyEnded or a keyUsed came out.
type keyOutcome uint8

const (
	done    keyOutcome = iota // the write ended the key; the use was accepted
	refused                   // there is no such key
	unknown                   // the write may or may not have happened
)

type keyInput struct {
	key string // id
	op  keyOp
}

// keyState is a key between two operations.
type keyState struct {
	made, ended bool
	ending      int // writes under way that may end it
}

func (s keyState) live() bool { return s.made && !s.ended }

func (s keyState) step(op keyOp, out keyOutcome) (ok bool, next keyState) {
	switch op {
	case keyMade:
		ok, s.made = !s.made, true
	case keyEnding:
		ok, s.ending = true, s.ending+1
	case keyEnded:
		ok = s.ending > 0 && (out == unknown || s.live() == (out == done))
		s.ending--
		// A write that was not answered need not come before the end of time.
		s.ended = s.ended || s.made
	case keyUsed:
		ok = s.live() && out == done || out == refused && (!s.live() || s.ending > 0)
	}
	return ok, s
}

// keyModel judges each key by itself.
var keyModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		place := make(map[string]int)
		for _, o := range history {
			key := o.Input.(keyInput).key
			if _, known := place[key]; !known {
				place[key] = len(parts)
				parts = append(parts, nil)
			}
			parts[place[key]] = append(parts[place[key]], o)
		}
		return parts
	},
	Init: func() any { return keyState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(keyState).step(input.(keyInput).op, output.(keyOutcome))
	},
}

// never is the answer to a write that was not answered.
const never = math.MaxInt64

// keyHistory is operations on keys, in any order.
type keyHistory []porcupine.Operation

func (h *keyHistory) add(key string, op keyOp, began, ended int64, out keyOutcome) {
	*h = append(*h, porcupine.Operation{Input: keyInput{key, op}, Output: out, Call: began, Return: ended})
}

// end adds a write that was to end a key.
func (h *keyHistory) end(key string, began, ended int64, out keyOutcome) {
	if out == unknown {
		ended = never
	}
	h.add(key, keyEnding, began, ended, out)
	h.add(key, keyEnded, began, ended, out)
}

func (h keyHistory) linearizable() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(keyModel, h, time.Minute)
}

func TestKeyModelTellsRightFromWrong(t *testing.T) {
	life := func(add func(*keyHistory)) keyHistory {
		var h keyHistory
		h.add("k", keyMade, 0, 10, done)
		add(&h)
		return h
	}
	for name, c := range map[string]struct {
		want porcupine.CheckResult
		add  func(*keyHistory)
	}{
		"used while it lives":     {porcupine.Ok, func(h *keyHistory) { h.add("k", keyUsed, 20, 30, done) }},
		"refused while it lives":  {porcupine.Illegal, func(h *keyHistory) { h.add("k", keyUsed, 20, 30, refused) }},
		"used before it was made": {porcupine.Illegal, func(h *keyHistory) { h.add("x", keyUsed, 20, 30, done) }},
		"refused after the answer": {
			porcupine.Ok,
			func(h *keyHistory) { h.end("k", 20, 30, done); h.add("k", keyUsed, 40, 50, refused) },
		},
		"used after the answer": {
			porcupine.Illegal,
			func(h *keyHistory) { h.end("k", 20, 30, done); h.add("k", keyUsed, 40, 50, done) },
		},
		"both ways while it is revoked": {porcupine.Ok, func(h *keyHistory) {
			h.end("k", 20, 60, done)
			h.add("k", keyUsed, 25, 30, refused)
			h.add("k", keyUsed, 40, 50, done)
		}},
		"revoked twice": {
			porcupine.Illegal,
			func(h *keyHistory) { h.end("k", 20, 30, done); h.end("k", 40, 50, done) },
		},
		"revoked twice, one of which": {
			porcupine.Ok,
			func(h *keyHistory) { h.end("k", 20, 30, refused); h.end("k", 20, 50, done) },
		},
		"not found while it lives": {
			porcupine.Illegal,
			func(h *keyHistory) { h.end("k", 20, 30, refused); h.add("k", keyUsed, 40, 50, done) },
		},
		"an answer that got lost": {porcupine.Ok, func(h *keyHistory) {
			h.end("k", 20, 0, unknown)
			h.add("k", keyUsed, 40, 50, done)
			h.add("k", keyUsed, 60, 70, refused)
		}},
		"lost, then not found, then used": {porcupine.Illegal, func(h *keyHistory) {
			h.end("k", 20, 0, unknown)
			h.end("k", 40, 50, refused)
			h.add("k", keyUsed, 60, 70, done)
		}},
	} {
		if got := life(c.add).linearizable(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
