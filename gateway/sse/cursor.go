package sse

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// A cursor says which messages a client has: all up to an offset in each of its channels.
// Clients keep it as it is.
//
//	one channel    <epoch>.<offset>
//	several        <epoch>.<list>.<offset>,<offset>…   in the order of the names
//
// The list is a hash of the names, so that a cursor is not taken for other channels.

// ListOf returns the hash of a list of channels, whose names are sorted.
func ListOf(names []string) uint64 {
	sum := fnv.New64a()
	for _, name := range names {
		_, _ = sum.Write([]byte(name)) // never fails
		_, _ = sum.Write([]byte{0})    // no name has this byte
	}
	return sum.Sum64()
}

// AppendCursor appends the cursor of one channel.
func AppendCursor(dst []byte, epoch string, offset uint64) []byte {
	return strconv.AppendUint(append(append(dst, epoch...), '.'), offset, 10)
}

// AppendListCursor appends the beginning of the cursor of several channels. The caller adds
// their offsets with AppendOffset.
func AppendListCursor(dst []byte, epoch string, list uint64) []byte {
	dst = strconv.AppendUint(append(append(dst, epoch...), '.'), list, listBase)
	return append(dst, '.')
}

// AppendOffset adds the offset of the channel at place i of the list.
func AppendOffset(dst []byte, i int, offset uint64) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return strconv.AppendUint(dst, offset, 10)
}

const listBase = 36

// ParseCursor returns the offsets that a cursor has for channels, whose names are sorted. It
// reports false for a cursor of other channels or of another epoch, and for every other text.
func ParseCursor(text, epoch string, names []string) (offsets []uint64, ok bool) {
	rest, ok := strings.CutPrefix(text, epoch+".")
	if !ok {
		return nil, false
	}
	if len(names) > 1 {
		list, after, found := strings.Cut(rest, ".")
		if !found || list != strconv.FormatUint(ListOf(names), listBase) {
			return nil, false
		}
		rest = after
	}
	parts := strings.Split(rest, ",")
	if len(parts) != len(names) {
		return nil, false
	}
	for _, part := range parts {
		offset, err := strconv.ParseUint(part, 10, 64)
		if err != nil || offset > strictjson.MaxWhole || strconv.FormatUint(offset, 10) != part {
			return nil, false
		}
		offsets = append(offsets, offset)
	}
	return slices.Clip(offsets), true
}
